"""The minima of Figure 5: which measure follows the gap, and whether what all five papers take for granted is so.

Two studies of 110 minima each, stopped by the same rule: LeNet5 on CIFAR-10, as in the paper, and a perceptron on digits.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from book.finding import CITED, HELD, NOT, PART, RESULTS, Finding, graded, of_all, scale, span
from flatlab.runs import records
from flatlab.stats.comparison import compare
from flatlab.stats.predictors import MEASURES, SETTINGS, Interval, Predictor, columns, gaps, predictors, within

Record = dict[str, Any]
Found = dict[str, Predictor]

DIGITS = {"data": "digits", "network": "fcn3", "examples": 300, "few": 300}
LENET = {"data": "cifar10", "network": "lenet5", "examples": 10000}
RIVALS = ("Tr H", "PAC-Bayes 1/σ²", "Fisher-Rao", "‖w‖")
"""The paper's other measures, as its text defines them."""
SCALED = ("Tr H", "PAC-Bayes 1/σ²", "‖w‖")
"""Those of them that a rescaling of layers changes."""
WORDS = {
    "κ": "relative flatness", "Tr H": "trace", "PAC-Bayes 1/σ²": "1/sigma^2", "Fisher-Rao": "Fisher-Rao norm",
    "‖w‖": "norm of the weights", "−margin": "negative margin",
}  # fmt: skip


def runs(study: dict[str, Any]) -> list[Record]:
    """All records of a study."""
    return records.find(RESULTS, "minimum", **study)


def reached(study: dict[str, Any]) -> list[Record]:
    """Those whose training reached the loss at which it was to stop."""
    return [r for r in runs(study) if r["result"]["reached"]]


def minima(study: dict[str, Any]) -> list[Record]:
    """The minima of a whole study. Raises `LookupError` unless there are 110 and each training reached its loss."""
    found = reached(study)
    if len(found) != 110:
        raise LookupError(f"{len(found)} minima of {study}, wanted 110")
    return found


digits, lenet = functools.cache(lambda: minima(DIGITS)), functools.cache(lambda: minima(LENET))


@functools.cache
def of_digits() -> Found:
    """How well each measure predicts the gap of the loss, on digits."""
    return predictors(digits())


@functools.cache
def of_lenet() -> Found:
    """Likewise with LeNet5."""
    return predictors(lenet())


def pairs(minima: Sequence[Record], setting: str) -> list[tuple[int, int]]:
    """Pairs of minima that differ in one setting alone, the smaller value first."""
    held = [tuple(r["config"][s] for s in SETTINGS if s != setting) for r in minima]
    value, count = [r["config"][setting] for r in minima], range(len(minima))
    return [(i, j) for i in count for j in count if held[i] == held[j] and value[i] < value[j]]


def larger(minima: Sequence[Record], setting: str, quantity: str) -> tuple[int, int]:
    """In how many of those pairs the larger value of the setting has the larger measure, "gap" or "accuracy gap"; and their
    number."""
    which = {"gap": "loss_gap", "accuracy gap": "accuracy_gap"}
    column = gaps(minima, which[quantity]) if quantity in which else columns(minima)[:, list(MEASURES).index(quantity)]
    found = pairs(minima, setting)
    return sum(bool(column[j] > column[i]) for i, j in found), len(found)


def share_larger(minima: Sequence[Record], setting: str, quantity: str) -> float:
    """Its share."""
    count, of = larger(minima, setting, quantity)
    return count / of


# ---- which measure is ahead: the claims of Figure 5 --------------------------------------------------------------------
# Each takes how well the measures predict the gap, and returns a verdict.


def leads(found: Found, rival: str) -> str:
    """That relative flatness correlates more than this measure: held if both intervals of the lead are above 0 and its own
    correlation is positive, in part if one correlation of it is positive and leads. To be less wrong is not to lead."""
    behind = (found[rival].behind_pearson, found[rival].behind_spearman)
    own = (found["κ"].pearson, found["κ"].spearman)
    leading = [lead.value > 0 and mine.value > 0 for lead, mine in zip(behind, own, strict=True)]
    return graded(all(leading) and all(c.low > 0 for c in behind), any(leading))


def leads_all(found: Found) -> str:
    """That it correlates more than each of them."""
    own = {leads(found, rival) for rival in RIVALS}
    return HELD if own == {HELD} else NOT if NOT in own else PART


def fisher_rao_weakest(found: Found) -> str:
    """That the Fisher-Rao norm has the lowest correlation of the five, by Pearson and by Spearman."""
    fisher, others = found["Fisher-Rao"], [found[name] for name in ("κ", *RIVALS) if name != "Fisher-Rao"]
    lowest = [getattr(fisher, c).value < min(getattr(p, c).value for p in others) for c in ("pearson", "spearman")]
    return of_all(lowest)


def strong(found: Found) -> str:
    """That relative flatness has correlations above 0.5 for certain; in part if above 0.5."""
    both = found["κ"].pearson, found["κ"].spearman
    return graded(all(c.low > 0.5 for c in both), any(c.value > 0.5 for c in both))


def reported(found: Found) -> str:
    """What others found, whatever ours say."""
    return CITED


def rescaling_takes(found: Found) -> str:
    """That rescaling layers takes of the correlation of the measures that it changes, for certain."""
    return of_all(c.low > 0 for name in SCALED for c in (found[name].lost_pearson, found[name].lost_spearman))


# ---- words -----------------------------------------------------------------------------------------------------------

OVER = "Spearman's correlation with the gap over 110 minima of LeNet5 on 10,000 images of CIFAR-10"


def told(c: Interval) -> str:
    """A correlation with its interval."""
    return f"{c.value:+.2f} [{c.low:+.2f}, {c.high:+.2f}]"


def listed(found: Found, measures: Sequence[str]) -> str:
    """Spearman's correlation of some measures."""
    return ", ".join(f"{WORDS[name]} {told(found[name].spearman)}" for name in measures)


def rank(found: Found, measure: str) -> int:
    """The place of a measure among the paper's five, by Spearman's correlation."""
    return sorted(("κ", *RIVALS), key=lambda name: -found[name].spearman.value).index(measure) + 1


def signs(found: Found, measures: Sequence[str]) -> str:
    """What to make of correlations that are negative for certain."""
    negative = [name for name in measures if found[name].spearman.high < 0]
    if len(negative) == len(measures):
        return " All are negative: the flatter, the larger the gap."
    those = f"{' and '.join(WORDS[name] for name in negative)} {'is' if len(negative) == 1 else 'are'}"
    return f" For certain negative {those}: the flatter, the larger the gap." if negative else ""


def plain(value: float, digits: int = 2) -> str:
    """A correlation with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def study_in_words(name: str, study: list[Record]) -> dict[str, str]:
    """The numbers in the chapter's sentences on a study, by the names under which the page asks for them."""
    found = predictors(study, samples=1000)  # as in the chapter's tables
    short = {"kappa": "κ", "kappa-4": "κ, Theorem 4", "trace": "Tr H", "pac-bayes": "PAC-Bayes 1/σ²", "norm": "‖w‖"}
    short |= {"last-norm": "‖w‖, last layer", "margin": "−margin"}
    numbers = {label: plain(found[measure].spearman.value) for label, measure in short.items()}
    numbers |= {f"{label}-given": plain(found[short[label]].given_loss.value) for label in ("trace", "pac-bayes")}
    numbers["kappa-high"] = plain(found["κ"].spearman.high)
    lead = found["‖w‖"].behind_spearman
    numbers["lead"] = f"{-lead.high:.2f} to {-lead.low:.2f}"
    numbers["fisher-rao-lead"] = plain(-found["Fisher-Rao"].behind_spearman.value)
    count = {quantity: larger(study, "lr", quantity) for quantity in ("‖w‖", "gap", "accuracy gap", "Tr H", "κ")}
    of = count["gap"][1]
    numbers |= {"pairs": str(of), "longer": str(count["‖w‖"][0]), "larger-gap": str(count["gap"][0])}
    numbers["larger-accuracy-gap"] = str(count["accuracy gap"][0])
    numbers |= {"smaller-trace": str(of - count["Tr H"][0]), "smaller-kappa": str(of - count["κ"][0])}
    (traces, batches), (gap, _) = larger(study, "batch", "Tr H"), larger(study, "batch", "gap")
    numbers |= {"batch-pairs": str(batches), "batch-trace": str(traces), "batch-gap": str(batches - gap)}
    seeds = {seed: [r for r in study if r["config"]["seed"] == seed] for seed in {r["config"]["seed"] for r in study}}
    means = [float(gaps(own).mean()) for own in seeds.values()]
    numbers |= {"least-gap": f"{min(means):.2f}", "largest-gap": f"{max(means):.2f}"}
    tau, _ = within(study, *(s for s in SETTINGS if s != "seed"))
    numbers |= {"tau-norm": plain(tau["‖w‖"]), "tau-kappa": plain(tau["κ"])}
    return {f"rf-{name}-{key}": text for key, text in numbers.items()}


def in_words() -> dict[str, str]:
    """Those of both studies, and the scores of LeNet5."""
    words = study_in_words("digits", digits()) | study_in_words("lenet", lenet())
    accuracy = gaps(lenet(), "accuracy_gap")
    loss = predictors(lenet(), "accuracy_gap", samples=2)["training loss"].spearman.value
    scores = {name: [r["result"]["scores"][name] for r in lenet()] for name in ("whole_train_loss", "accuracy", "loss")}
    words |= {"rf-lenet-right": span([100 * v for v in scores["accuracy"]], ".0f")}
    words |= {"rf-lenet-loss": span(scores["loss"], ".1f"), "rf-lenet-train-loss": f"{max(scores['whole_train_loss']):.2f}"}
    words["rf-lenet-accuracy-gap"] = f"{accuracy.min():.2f} to {accuracy.max():.2f}"
    return words | {"rf-lenet-accuracy-loss": plain(loss)}


# ---- what the papers take for granted, asked of both studies -----------------------------------------------------------
# Each takes both studies, digits and LeNet5, and returns verdict and words.


def traces() -> tuple[list[Interval], str]:
    """Spearman's correlation of the trace with the gap in both studies, and in words."""
    both = [found["Tr H"].spearman for found in (of_digits(), of_lenet())]
    values = " and ".join(told(c) for c in both)
    words = (
        "Over 110 minima of a perceptron on digits and 110 of LeNet5 on CIFAR-10, each stopped after an epoch with a mean "
        f"loss of 0.1 or less, Spearman's correlation of the trace with the gap is {values}, 95% intervals"
    )
    return both, words + (": the flatter have the larger gap." if all(c.high < 0 for c in both) else ".")


def flat_generalizes() -> tuple[str, str]:
    """The trace and the gap grow together, for certain, in both studies."""
    both, words = traces()
    words += " One protocol; intervals above 0 would show the claim."
    return of_all(c.low > 0 for c in both), words


def correlates_but_does_not_explain() -> tuple[str, str]:
    """The same, and the correlation is below 0.9."""
    both, words = traces()
    shown, short = [c.low > 0 for c in both], [c.value < 0.9 for c in both]
    words += f" That it correlates so is {'' if all(shown) else 'not '}shown; that it does not explain the gap is"
    return of_all(shown + short), words + ("." if all(short) else " not.")


def not_dominant() -> tuple[str, str]:
    """The norm of the weights correlates more with the gap than the trace, in both studies. In part at most: the argument
    of the paper rests on runs at chance."""
    ahead = all(found["‖w‖"].spearman.value > found["Tr H"].spearman.value for found in (of_digits(), of_lenet()))
    norms = " and ".join(told(found["‖w‖"].spearman) for found in (of_digits(), of_lenet()))
    words = (
        f"{traces()[1]} The norm of the weights has {norms}. The paper's own argument does not carry: its runs on text are "
        "at 5.3% of 20 classes, where nothing was learnt that a penalty could change."
    )
    return graded(False, ahead), words


def insufficient() -> tuple[str, str]:
    """The correlation is below 0.9."""
    both, words = traces()
    return of_all(c.value < 0.9 for c in both), words


def told_pairs(setting: str) -> str:
    """In how many pairs trace, gap of the loss and gap of the accuracy grow with a setting, in both studies."""
    words = []
    for name, study in (("digits", digits()), ("LeNet5", lenet())):
        counts = [larger(study, setting, quantity) for quantity in ("Tr H", "gap", "accuracy gap")]
        (trace, of), (gap, _), (accuracy, _) = counts
        words.append(f"with {name} the trace in {trace} of {of} pairs, the gap in {gap} (by accuracy in {accuracy})")
    return "; ".join(words)


def small_batches() -> tuple[str, str]:
    """In four of five pairs the larger batch has the larger trace, and the larger gap, in both studies."""
    grows = [share_larger(study(), "batch", quantity) >= 0.8 for quantity in ("Tr H", "gap") for study in (digits, lenet)]
    words = "Pairs of minima that differ in the batch alone and in which the larger batch has the larger value, "
    worse = [
        name for name, study in (("digits", digits), ("LeNet5", lenet)) if share_larger(study(), "batch", "gap") <= 0.2
    ]
    clear = f" That the smaller batch has the larger gap is clear with {' and '.join(worse)} alone." if worse else ""
    answer = " Flatter: {}; better: {}.".format(*("yes" if all(some) else "no" for some in (grows[:2], grows[2:])))
    return of_all(grows), f"{words}{told_pairs('batch')}.{clear}{answer}"


def batches_and_rates() -> tuple[str, str]:
    """The same, and in four of five pairs the larger rate has the smaller trace."""
    flatter = of_all(share_larger(study(), "lr", "Tr H") <= 0.2 for study in (digits, lenet))
    words = "Pairs of minima that differ in one setting and in which the larger setting has the larger value. "
    words += f"By the batch, {told_pairs('batch')}. By the rate, {told_pairs('lr')}."
    return flatter if small_batches()[0] == flatter else PART, words


def rate_over_batch() -> tuple[str, str]:
    """In four of five pairs the larger rate, or the smaller batch, has the smaller gap, in both studies."""
    smaller = [share_larger(study(), "lr", "gap") <= 0.2 for study in (digits, lenet)]
    smaller += [share_larger(study(), "batch", "gap") >= 0.8 for study in (digits, lenet)]
    words = (
        "Among minima stopped by the same rule the larger ratio tends to the larger gap of the loss; by accuracy digits "
        "show no tendency. Smaller gaps in four of five pairs would show the claim."
    )
    return of_all(smaller), f"{batches_and_rates()[1]} {words}"


def adaptive_is_worse() -> tuple[str, str]:
    """Adam's minima have the larger gap, for certain, in both studies: means over the set-ups without weight decay, seed by
    seed."""
    words, worse = [], []
    for name, study in (("digits", digits()), ("LeNet5", lenet())):
        means = {}
        for base in ("Adam", "SGD"):
            for r in study:
                if r["config"]["base"] == base and not r["config"]["weight_decay"]:
                    means.setdefault(base, {}).setdefault(r["config"]["seed"], []).append(r["result"]["scores"]["loss_gap"])
        by_seed = {base: {seed: statistics.fmean(v) for seed, v in seeds.items()} for base, seeds in means.items()}
        c = compare(by_seed["Adam"], by_seed["SGD"])
        worse.append(c.difference - c.half > 0)
        words.append(f"{name} {c.difference:+.3f} ± {c.half:.3f} beside {statistics.fmean(by_seed['SGD'].values()):.3f}")
    start = "Gap of the loss of Adam's minima less that of SGD's, stopped by the same rule, without weight decay: "
    return of_all(worse), f"{start}{'; '.join(words)}. Intervals above 0 would show the claim."


def flatness_beats_norms() -> tuple[str, str]:
    """The best of three measures of flatness is ahead of the norm and of the margin, in both studies."""
    studies, ahead = (of_digits(), of_lenet()), []
    for found in studies:
        best = max(found[name].spearman.value for name in ("κ", "Tr H", "PAC-Bayes 1/σ²"))
        ahead += [best > found[name].spearman.value for name in ("‖w‖", "−margin")]
    values = ", ".join(
        f"{WORDS[name]} " + " and ".join(f"{found[name].spearman.value:+.2f}" for found in studies)
        for name in ("κ", "Tr H", "‖w‖", "−margin")
    )
    agree = "agree" if all(ahead) else "do not agree"
    start = f"Jiang et al. report it. Ours {agree}: Spearman's correlation with the gap, digits and LeNet5, is "
    return CITED, f"{start}{values}."


# ---- the claims ------------------------------------------------------------------------------------------------------


def conclude(claim: Callable[[Found], str], *measures: str, on_digits: bool = False) -> Finding:
    """The finding on a claim of Figure 5, with the correlations of these measures."""
    found, used = of_lenet(), lenet()
    words = f"{OVER}, 95% intervals: {listed(found, measures)}."
    if claim is rescaling_takes:
        both = [(WORDS[m], found[m].spearman.value, found[m].rescaled_spearman.value) for m in measures]
        found_and_rescaled = ", ".join(f"{name} {here:+.2f} and {there:+.2f}" for name, here, there in both)
        words = f"{OVER}, as found and with layers rescaled at random: {found_and_rescaled}."
    elif claim is fisher_rao_weakest:
        words += f" Among the paper's five it has place {rank(found, 'Fisher-Rao')}."
    else:
        words += signs(found, measures) if len(measures) > 1 else ""
    if claim is reported:
        words = f"Earlier work reports it. Ours: {words}"
    elif claim is not rescaling_takes:
        words += (
            " The published code takes all 50,000 images, cropped and mirrored, no momentum and another initialization; "
        )
        words += "its grid is not given."
    if on_digits:
        words += f" On 110 minima of a perceptron on digits: {listed(of_digits(), measures)}."
        used = [*used, *digits()]
    return Finding(claim(found), words, scale(used), used)


def conclude_both(claim: Callable[[], tuple[str, str]]) -> Finding:
    """The finding on what is taken for granted."""
    used = [*digits(), *lenet()]
    return Finding(*claim(), scale(used), used)


def ahead_of(rival: str) -> Callable[[Found], str]:
    """The claim that relative flatness leads this measure."""
    return functools.partial(leads, rival=rival)


CLAIMS = {
    f"relative-flatness/{name}": functools.partial(conclude, claim, *measures, on_digits=on_digits)
    for name, claim, measures, on_digits in (
        ("figure-5-relative-flatness", leads_all, ("κ", "‖w‖", "Fisher-Rao", "Tr H", "PAC-Bayes 1/σ²"), False),
        ("summary-outperforms", leads_all, ("κ", "Fisher-Rao", "Tr H", "PAC-Bayes 1/σ²", "‖w‖"), True),
        ("figure-5-trace", ahead_of("Tr H"), ("Tr H", "κ"), False),
        ("figure-5-pac-bayes", ahead_of("PAC-Bayes 1/σ²"), ("PAC-Bayes 1/σ²", "κ"), False),
        ("figure-5-weights-norm", ahead_of("‖w‖"), ("‖w‖", "κ"), False),
        ("figure-5-fisher-rao", fisher_rao_weakest, ("Fisher-Rao",), False),
        ("summary-strong-correlation", strong, ("κ",), True),
        ("background-measures-correlate", reported, ("κ", "Tr H", "PAC-Bayes 1/σ²"), False),
        ("reparametrization-reduces-correlation", rescaling_takes, SCALED, False),
    )
}
BACKGROUND = {
    claim: functools.partial(conclude_both, function)
    for claim, function in {
        "stable-sam/background-flat-generalizes": flat_generalizes,
        "stable-sam/background-lr-batch-ratio": rate_over_batch,
        "stable-sam/background-adaptive-worse-than-sgd": adaptive_is_worse,
        "fa/flatness-not-dominant": not_dominant,
        "lsam/background-flat-generalizes": flat_generalizes,
        "fa/background-flat-generalizes": flat_generalizes,
        "fa/summary-correlates-not-explains": correlates_but_does_not_explain,
        "fa/background-small-batches": small_batches,
        "lsam/background-batch-size": batches_and_rates,
        "nonuniformity/background-flatness-insufficient": insufficient,
        "relative-flatness/background-jiang": flatness_beats_norms,
    }.items()
}
"""Of all five papers."""
