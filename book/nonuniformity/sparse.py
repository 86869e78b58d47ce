"""Sparse regression, Figure 4: the records of the diagonal network, their quantities, and the verdicts that follow."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import torch
from torch import Tensor

from book.finding import HELD, PART, RESULTS, Finding, graded, of_all, span
from flatlab.runs import records

Record = dict[str, Any]

CODE = {"alternating": True, "batch": 10, "epochs": 400, "points": 30}
"""As the published code has it: v is updated after u."""
TEXT = CODE | {"alternating": False}
"""As the text has it: both at once."""
GRID = {"alternating": True, "points": 2, "batch": 10}
"""SAMGCM's radii and dampings."""
WHOLE = {"batch": 100, "alternating": False}
"""The full batch, as equation (11) stands."""
SGD, SAM, GCM = ("SGD",), ("SAM", 0.3), ("SAMGCM", 5e-4)
"""The three of Figure 4, at the code's radii."""
DAMPING = 1e-6
"""The published one."""
CONTROL = ("SAM", 0.5)
"""SAM with the radius that SAMGCM begins with."""
EQUAL = ((0.3, 3e-4), (0.5, 5e-4))
"""SAM's radius, and SAMGCM's setting whose first step is as long."""
LARGER = (0.3, 0.4, 0.5, 0.7)
"""SAM's radii from the code's on."""
TEXTS_RADIUS = 0.005
"""SAMGCM's in the text."""


@functools.cache
def _record(key: tuple) -> Record:
    return records.only(RESULTS, "diagonal_network", **dict(key))


def record(config: dict[str, Any]) -> Record:
    """The record of one of the four settings."""
    return _record(tuple(config.items()))


def curve(r: Record, method: str, rho: float | None = None, damping: float | None = None) -> dict[str, Tensor]:
    """The curve of a method: its quantities as tensors (marks, problems), infinite where a run has diverged."""
    (c,) = [
        c for c in r["result"]["curves"]
        if (c["method"], c.get("rho")) == (method, rho) and c.get("damping") in (None, damping)
    ]  # fmt: skip
    finite = lambda rows: [[math.inf if v is None else v for v in row] for row in rows]  # noqa: E731
    return {k: torch.tensor(finite(c[k]), dtype=torch.float64) for k in ("test", "train", "l1", "alpha", "ascent")}


def final(config: dict[str, Any], method: str, rho: float | None = None, damping: float = DAMPING, field="test") -> Tensor:
    """A quantity after the last epoch, one a problem."""
    return curve(record(config), method, rho, damping)[field][-1]


def spread(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lowest but one, median, highest but one over the problems: of ten, first and last hold the median with 97.9%."""
    ordered = values.sort(-1).values
    return ordered[..., 1], (ordered[..., 4] + ordered[..., 5]) / 2, ordered[..., 8]


def median(values: Tensor) -> float:
    """Over the problems."""
    return spread(values)[1].item()


def medians(config: dict[str, Any], field: str) -> list[float]:
    """Of SGD, SAM and SAMGCM at the code's radii."""
    return [median(final(config, *which, field=field)) for which in (SGD, SAM, GCM)]


def best(config: dict[str, Any], method: str) -> tuple[float, float]:
    """SAM's or SAMGCM's least median test loss over all radii, and the rho that has it."""
    rhos = record(config)["config"]["sam_rhos" if method == "SAM" else "gcm_rhos"]
    return min((median(final(config, method, rho)), rho) for rho in rhos)


def share(config: dict[str, Any], rho: float) -> float:
    """Which part of the fall in test loss from SGD to SAMGCM, medians at the code's radii, SAM makes at this one."""
    sgd, _, gcm = medians(config, "test")
    return (sgd - median(final(config, "SAM", rho))) / (sgd - gcm)


def problems(holds: Tensor) -> str:
    """In how many of the problems something holds, of how many."""
    return f"{int(holds.sum())} of {len(holds)}"


def in_words() -> dict[str, str]:
    """The numbers in the sentences on Figure 4 and on equal radii, by the names under which the pages ask for them."""
    loss = lambda config, *which: f"{median(final(config, *which)):.4f}"  # noqa: E731
    numbers = {"sgd": f"{median(final(CODE, *SGD)):.3f}", "control": loss(CODE, *CONTROL)}
    numbers["control-worst"] = f"{final(CODE, *CONTROL).max():.1f}"
    numbers["collapsed"] = problems(final(CODE, "SAM", 0.7, field="l1") < 0.1)
    numbers["lost"] = f"{span(lost(), 'd')} of {record(CODE)['config']['seeds']}"
    small = {"02": (0.2, 2e-4), "03": (0.3, 3e-4)}
    for at, (sam, gcm) in small.items():
        numbers |= {f"sam-{at}": loss(CODE, "SAM", sam), f"gcm-{at}": loss(CODE, "SAMGCM", gcm)}
    numbers["wins"] = span([over(TEXT, "test", *both) for both in small.values()], ".1f")
    numbers["share"] = span([100 * share(config, rho) for config in (CODE, TEXT) for rho in (0.3, 0.4, 0.5)], ".0f")
    for name, config in (("code", CODE), ("text", TEXT)):
        sgd, sam, gcm = (final(config, *which) for which in (SGD, SAM, GCM))
        numbers[f"order-{name}"] = problems((gcm < sam) & (sam < sgd))
        numbers[f"test-{name}"] = f"{median(sgd):.3f}, {loss(config, *SAM)} and {loss(config, *GCM)}"
        numbers[f"tenth-{name}"] = f"{median(final(config, 'SAM', 0.1)) / median(sam):.1f}"
        numbers |= {f"gcm-{name}": loss(config, *GCM), f"matched-{name}": loss(config, "matched", GCM[1])}
        (least, _), (lowest, rho) = best(config, "SAM"), best(config, "SAMGCM")
        numbers |= {f"best-sam-{name}": f"{least:.4f}", f"best-gcm-{name}": f"{lowest:.4f}"}
        numbers[f"best-radius-{name}"] = f"{rho / math.sqrt(DAMPING):g}"
    return {f"sparse-{name}": text for name, text in numbers.items()}


def damping_in_words() -> dict[str, str]:
    """Those on the damping: test losses at the published rho, with ten times the published damping and with a tenth."""
    more, less = (median(final(GRID, *GCM, damping)) for damping in (1e-5, 1e-7))
    return {"sparse-damped-more": f"{more:.3f}", "sparse-damped-less": f"{less:.2f}"}


def full_batch_in_words() -> dict[str, str]:
    """Those on the full batch, where what minibatches gain is told beside it."""
    (sgd, sam, gcm), (plain, climbed, _) = medians(WHOLE, "test"), medians(WHOLE, "l1")
    batches, _, shaped = medians(TEXT, "test")
    rhos = record(WHOLE)["config"]["sam_rhos"]
    below = torch.stack([final(WHOLE, *GCM) < final(WHOLE, "SAM", rho) for rho in rhos]).all(0)
    least = min(v for c in record(WHOLE)["result"]["curves"] for v in c["l1"][-1] if v is not None)
    numbers = {"below": problems(below), "worse": f"{sam / sgd:.0f}", "gains": f"{100 * (1 - gcm / sgd):.0f}"}
    numbers |= {"batches": f"{batches / shaped:.0f}", "norm": f"{least:.1f}", "norms": f"{climbed / plain:.1f}"}
    return {f"sparse-whole-{name}": text for name, text in numbers.items()}


# ---- the claims ------------------------------------------------------------------------------------------------------


def concluded(verdict: str, words: str, *configs: dict[str, Any]) -> Finding:
    """The finding from the records of these settings."""
    used = [record(config) for config in configs]
    c = used[0]["config"]
    data = f"diagonal network on {c['samples']} samples of {c['features']} features"
    return Finding(verdict, words, f"{data}, {c['epochs']} epochs, {c['seeds']} problems", used)


def told(values: list[float], form: str = ".2g") -> str:
    """Three medians."""
    return "SGD {}, SAM {}, SAMGCM {}".format(*(f"{v:{form}}" for v in values))


def lost() -> list[int]:
    """How many of SAMGCM's runs diverge at the text's radius, in both readings of the update."""
    return [int(torch.isinf(final(config, "SAMGCM", TEXTS_RADIUS)).sum()) for config in (CODE, TEXT)]


def at_the_codes_radii(verdict: str, words: str) -> Finding:
    """The finding on Figure 4 from its code's radii: in part at best if SAMGCM's runs diverge at the text's."""
    runs = record(CODE)["config"]["seeds"]
    diverge = f"At the text's radius of {TEXTS_RADIUS:g}, {max(lost())} of {runs} SAMGCM runs diverge."
    verdict = PART if verdict == HELD and any(lost()) else verdict
    return concluded(verdict, f"At the code's radii: {words} {diverge}", CODE, TEXT)


def lower_test_loss() -> Finding:
    """In nine problems of ten SAMGCM's test loss is below SAM's and SAM's below SGD's, in both readings of the update."""
    below = []
    for config in (CODE, TEXT):
        sgd, sam, gcm = (final(config, *which) for which in (SGD, SAM, GCM))
        below += [(gcm < sam).sum() >= 9, (sam < sgd).sum() >= 9]
    return at_the_codes_radii(of_all(below), f"medians of ten problems, {told(medians(CODE, 'test'))}.")


def train_loss() -> Finding:
    """The figure's middle shows what is there: SGD's training loss below SAM's and SAMGCM's, all below the noise's."""
    sgd, sam, gcm = medians(CODE, "train")
    words = f"medians of ten problems, {told([sgd, sam, gcm], '.1g')}; the noise of the labels alone leaves 0.01."
    return at_the_codes_radii(graded(sgd < sam < gcm < 0.01), words)


def smallest_l1_norm() -> Finding:
    """SAMGCM's l1 norm is the smallest of the three, in both readings."""
    small = [norms[2] == min(norms) for norms in (medians(config, "l1") for config in (CODE, TEXT))]
    words = f"medians of ten problems, {told(medians(CODE, 'l1'), '.2f')}; the truth is 3."
    return at_the_codes_radii(of_all(small), words)


def prevents_overfitting() -> Finding:
    """SAMGCM leaves twice as much of the noise unfitted as SAM and as SGD."""
    sgd, sam, gcm = medians(CODE, "train")
    words = f"training loss {told([sgd, sam, gcm], '.1g')}, where the noise alone leaves 0.01."
    return at_the_codes_radii(of_all(gcm > 2 * other for other in (sgd, sam)), words)


def sparser_than_sharpness() -> Finding:
    """SAMGCM is sparser and has less than half of SAM's test loss, at the code's radii and at equal ones, in both
    readings."""
    norms, losses = medians(CODE, "l1"), medians(CODE, "test")
    ahead = [norms[2] < norms[1] and losses[2] < losses[1] / 2]
    times = {c["alternating"]: [over(c, "test", *both) for both in EQUAL] for c in (CODE, TEXT)}
    (small, large), (low, high) = times[True], times[False]
    sparser = [over(c, "l1", *both) > 1 for c in (CODE, TEXT) for both in EQUAL]
    words = (
        f"At the radii of the code SAMGCM is sparser than SAM (l1 norm {norms[2]:.2f} against {norms[1]:.2f}, the truth is "
        f"3), with {losses[2] / losses[1]:.2f} of its test loss. With SAM at SAMGCM's radius SAM's test loss is "
        f"{small:.1f} times SAMGCM's at a radius of 0.3 and {large:.1f} times at 0.5 with the code's update, and {low:.1f} "
        f"and {high:.1f} times with the text's. The l1 norms are then {at_equal_radii(CODE, 'l1', '.2f')} with the code's "
        f"update and {at_equal_radii(TEXT, 'l1', '.2f')} with the text's."
    )
    return concluded(of_all([*ahead, *(v > 2 for v in (small, large, low, high)), *sparser]), words, CODE, TEXT)


def over(config: dict[str, Any], field: str, sam: float, gcm: float) -> float:
    """A quantity of SAM's over SAMGCM's, medians, at these radii."""
    return median(final(config, "SAM", sam, field=field)) / median(final(config, "SAMGCM", gcm, field=field))


def at_equal_radii(config: dict[str, Any], field: str, form: str) -> str:
    """A quantity of SAM and of SAMGCM where both begin with the same radius."""
    of = lambda method, rho: format(median(final(config, method, rho, field=field)), form)  # noqa: E731
    return " and ".join(f"{of('SAM', sam)} against {of('SAMGCM', gcm)} at {sam:g}" for sam, gcm in EQUAL)


def sparser_generalizes() -> Finding:
    """Over SAM's radii, from small to large, alpha, l1 norm and test loss fall; in part if from SGD to the code's radii."""
    alpha, norms, losses = (medians(CODE, field) for field in ("alpha", "l1", "test"))
    falls = [max(values[1:]) < values[0] for values in (alpha, norms, losses)]
    wider = {field: [median(final(CODE, "SAM", rho, field=field)) for rho in LARGER] for field in ("alpha", "l1", "test")}
    row = lambda values: ", ".join(f"{v:.2g}" for v in values)  # noqa: E731
    words = (
        f"In the paper's sparse regression, where the truth is sparse: alpha {told(alpha, '.1g')}; l1 norm "
        f"{told(norms, '.2f')}; test loss {told(losses)}. Beyond that sparser is worse: at "
        f"{row(LARGER)} SAM's l1 norm is {row(wider['l1'])} and its test loss {row(wider['test'])}."
    )
    every = all(b < a for values in wider.values() for a, b in itertools.pairwise(values))
    return concluded(graded(all(falls) and every, all(falls)), words, CODE)


def smaller_alpha() -> Finding:
    """SAMGCM's solutions are sparser than SAM's, with minibatches and in full batch, as equation (11) has it."""
    norms = {name: medians(config, "l1") for name, config in (("with minibatches", CODE), ("in full batch", WHOLE))}
    sparse = [gcm < sam and gcm < 4 for _, sam, gcm in norms.values()]
    words = "The l1 norm, " + "; ".join(f"{name}: {told(found, '.2f')}" for name, found in norms.items())
    fewer = sum(over(c, "alpha", *both) > 1 for c in (CODE, TEXT) for both in EQUAL)
    words += (
        f"; the truth is 3. Test loss in full batch: {told(medians(WHOLE, 'test'))}. These are the code's radii, SAM's 0.3 "
    )
    words += (
        f"and SAMGCM's 0.5 to begin with. At equal ones the median alpha is {at_equal_radii(CODE, 'alpha', '.1g')} with "
        f"the code's update and {at_equal_radii(TEXT, 'alpha', '.1g')} with the text's, SAM's first: smaller with SAMGCM "
        f"in {fewer} of {2 * len(EQUAL)}."
    )
    return concluded(of_all(sparse), words, CODE, TEXT, WHOLE)


CLAIMS = {
    "nonuniformity/figure-4-test-loss": lower_test_loss,
    "nonuniformity/figure-4-train-loss": train_loss,
    "nonuniformity/figure-4-l1-norm": smallest_l1_norm,
    "nonuniformity/figure-4-overfitting": prevents_overfitting,
    "nonuniformity/summary-sparse-regression": sparser_than_sharpness,
    "nonuniformity/sparser-generalizes-better": sparser_generalizes,
    "nonuniformity/remark-2-smaller-alpha": smaller_alpha,
}
