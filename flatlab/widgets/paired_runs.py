"""Explorable of paired runs: each method less SGD or SAM, seed by seed, beside what papers report."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import traitlets
from scipy import stats

from flatlab.data import IMAGES
from flatlab.explorable import Explorable
from flatlab.stats.comparison import compare, holm, seeds_needed
from flatlab.stats.intervals import student
from flatlab.training.methods import OWNERS
from flatlab.widgets.run_curves import NAMES, ORDER

__all__ = ["PairedRuns", "compact"]

APART = ("method", "seed", "epochs", "evaluate_train")
"""What two runs of one problem may differ in, besides the options of their methods."""
OPTIONS = (*OWNERS, "perturb_every", "fa", "cov", "probes", "penalty_every")
SYMBOLS = {"rho": "ρ", "rho_cov": "ρ cov", "lr": "learning rate", "fa": "FA", "cov": "COV"}
BUDGETS = ("epochs", "gradients")
PLACE = ("data", "examples", "network", "width", "label_noise")
"""What the name of a problem says of itself; all else only where two problems would have one name."""
PART = ("examples", "label_noise")
"""Settings of problems that the papers' tables say nothing of: theirs are of all images, with true labels."""
PAPERS = {"LSAM": 200, "Nonuniformity": 300, "StableSAM": 200}
"""Epochs of the papers' runs on CIFAR, three seeds each; those of the nonuniformity paper stand in its code alone."""
PAPER_SEEDS = 3
LEAST_PAIRS = 3
"""Pairs below which there is no interval: that of two is 12.7 standard errors wide, and says next to nothing."""
STOPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Differences to resolve, in points of accuracy."""


class PairedRuns(Explorable):
    """Test accuracies of methods less those of SGD or SAM, seed by seed, with 95% intervals, beside the papers' numbers.

    `problem` names what is trained, as `PairedRuns.of(records).pairs["problems"]` has it. `base` is what methods are
    compared with: `SGD` or `SAM`. `budget` gives all of them equal `epochs`, or equal `gradients`: whichever of the two
    takes fewer gradients a step then trains for more epochs. `claims` are the papers' differences, `shown` or `hidden`;
    problems that no paper's table is about, with a part of the images or with wrong labels, have none.
    `resolve` is the difference, in points, whose number of seeds is asked for, one of `STOPS`. Build it with
    `PairedRuns.of(records)`.
    """

    caption = "Differences in test accuracy between methods, seed by seed, with their intervals, and the papers' own."

    pairs = traitlets.Dict().tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    base = traitlets.Unicode("SGD").tag(sync=True)
    budget = traitlets.Enum(BUDGETS, "epochs").tag(sync=True)
    claims = traitlets.Enum(["hidden", "shown"], "hidden").tag(sync=True)
    resolve = traitlets.Enum(STOPS, 0.2).tag(sync=True)

    @classmethod
    def of(
        cls, records: Iterable[Mapping[str, Any]], reported: Iterable[Mapping[str, Any]] = (), **state: Any
    ) -> PairedRuns:
        """The explorable of these records of `train`, as `records.find` gives them, and of the papers' numbers.

        `reported` holds rows with `paper` (one of `PAPERS`), `data`, `network`, `method`, `accuracy` and `deviation`, both
        in percent. Raises `ValueError` for a record of another experiment or one that was not evaluated on the test set,
        for a paper that is not known, and for a `problem` or `base` that these records do not have; a `TraitError` for any
        other state that does not exist.
        """
        pairs = compact(records, reported)
        problems = {problem["name"]: problem for problem in pairs["problems"]}
        if problems:
            problem = problems.get(state.setdefault("problem", next(iter(problems))))
            if problem is None:
                raise ValueError(f"problem must be one of {'; '.join(problems)}, got {state['problem']!r}")
            if state.setdefault("base", next(iter(problem["views"]))) not in problem["views"]:
                raise ValueError(f"base must be one of {'; '.join(problem['views'])}, got {state['base']!r}")
        return cls(pairs=pairs, **state)

    @traitlets.default("pairs")
    def _no_pairs(self):
        return compact([])


@dataclass(eq=False)
class Arm:
    """One method with its options on one family of problems: its runs by epochs and by seed."""

    method: str
    options: dict[str, Any]
    runs: dict[int, dict[int, Mapping]] = field(default_factory=lambda: defaultdict(dict))
    label: str = ""

    @property
    def rank(self) -> tuple:
        """Where it stands: by the palette, then by its options."""
        return (*_rank(self.method), *(self.options.get(k) or 0 for k in ("rho", "k", "lr")))

    def gradients(self, epochs: int) -> float:
        """Gradient evaluations of its runs of this length."""
        return next(iter(self.runs[epochs].values()))["gradients"]

    def with_gradients(self, gradients: float) -> int | None:
        """The length of its runs that took as many gradients, if there are any."""
        return next((e for e in self.runs if math.isclose(self.gradients(e), gradients, rel_tol=1e-6)), None)

    def accuracies(self, epochs: int) -> dict[int, float]:
        """Last epoch's accuracy in percent, by seed."""
        return {seed: round(100 * run["final"]["accuracy"], 3) for seed, run in sorted(self.runs[epochs].items())}

    def row(self, epochs: int, usual: int) -> dict[str, Any]:
        """What a row says of its runs of this length; the length itself, where it is not the usual one."""
        run = next(iter(self.runs[epochs].values()))
        return {
            "method": self.method,
            "label": self.label if epochs == usual else f"{self.label}, {epochs} epochs",
            "epochs": epochs,
            "setting": ", ".join(_said(k, v) for k, v in self.options.items() if v is not False),
            "passes": round(run["gradients"] / run["steps"], 2),
            "runs": [list(pair) for pair in self.accuracies(epochs).items()],
        }


def compact(records: Iterable[Mapping[str, Any]], reported: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What `PairedRuns` draws: for every problem, base and budget a row a method, in points of accuracy.

    Runs are of one problem where all their settings agree but method, its options, seed and epochs. A method with fewer
    than three pairs has no interval: its `half` is None. `p` is that of Student's test on the pairs, corrected by Holm for
    all rows of the view that have an interval. `spread` is the standard deviation of the differences, pooled over
    the rows that have one; `needed` are the seeds that resolve each of `stops`.

    >>> scores = {"plain": (0.90, 0.91, 0.90), "SAM": (0.91, 0.93, 0.92)}
    >>> runs = [(method, seed, score) for method, all_of in scores.items() for seed, score in enumerate(all_of, 1)]
    >>> record = lambda method, seed, accuracy: {
    ...     "experiment": "train", "key": "", "config": {"data": "digits", "network": "fcn", "base": "SGD", "epochs": 5,
    ...     "method": method, "seed": seed}, "result": {"evaluated_on": "test", "steps": 50, "gradients": 50,
    ...     "final": {"accuracy": accuracy}}}
    >>> (problem,) = compact([record(*run) for run in runs])["problems"]
    >>> problem["name"], list(problem["views"])
    ('digits, perceptron 500-500, 5 epochs', ['SGD', 'SAM'])
    >>> view = problem["views"]["SGD"]["epochs"]
    >>> view["rows"][1]["pairs"], view["rows"][1]["mean"], round(view["spread"], 4)
    ([[1, 91.0, 90.0], [2, 93.0, 91.0], [3, 92.0, 90.0]], 1.6667, 0.5774)
    """
    claims, methods = _claims(reported)
    problems = []
    for family, arms in _families(records):
        for epochs in sorted({epochs for arm in arms for epochs in arm.runs}):
            here = [arm for arm in arms if epochs in arm.runs]
            bases = [arm for arm in here if arm.label == family["base"] or arm.method == "SAM"]
            if len(here) > 1:
                absent = [m for m in methods.get(family["data"], ()) if m not in {arm.method for arm in here}]
                views = {base.label: {b: _view(base, here, absent, epochs, b) for b in BUDGETS} for base in bases}
                count = sum(len(arm.runs[epochs]) for arm in here)
                problems.append({"family": family, "epochs": epochs, "count": count, "views": views})
    problems = [problem for problem in problems if problem["views"]]
    part = lambda family: (bool(family.get("examples")), family.get("label_noise") or 0, family["data"])  # noqa: E731
    most: dict[tuple, int] = defaultdict(int)  # runs of one data set and network: those with many come first
    kind = lambda problem: (*part(problem["family"]), problem["family"]["network"], problem["epochs"])  # noqa: E731
    for problem in problems:
        most[kind(problem)] = max(most[kind(problem)], problem["count"])
    rate = lambda family: (family.get("lr") or 0, family.get("weight_decay") or 0)  # noqa: E731
    problems.sort(key=lambda p: (*part(p["family"]), -most[kind(p)], *kind(p)[3:], *rate(p["family"]), -p["count"]))
    told = []
    for problem, (name, short) in zip(problems, _names(problems), strict=True):
        data, network = problem["family"]["data"], problem["family"]["network"]
        about = {"name": name, "short": short, "data": data, "network": NAMES.get(network, network)}
        about["claimed"] = data in claims and not any(problem["family"].get(key) for key in PART)
        told.append(about | {"epochs": problem["epochs"], "views": problem["views"]})
    return {"problems": told, "claims": claims, "papers": PAPERS, "stops": list(STOPS)}


def _families(records: Iterable[Mapping[str, Any]]) -> list[tuple[dict, list[Arm]]]:
    """The settings that runs share, epochs left open, each with its arms in order."""
    records = list(records)
    for record in records:
        named = f"{record.get('experiment', 'of another kind')}/{record.get('key', '')}"
        if record.get("experiment") != "train":
            raise ValueError(f"PairedRuns draws records of train, got {named}")
        if record["result"]["evaluated_on"] != "test":
            on = record["result"]["evaluated_on"]
            raise ValueError(f"PairedRuns draws test accuracies; {named} was evaluated on {on!r}")
    shared = lambda r: {k: v for k, v in r["config"].items() if k not in (*APART, *OPTIONS)}  # noqa: E731
    families = []
    for kin in _grouped(records, lambda r: shared(r) | {"lr": None}):
        # A learning rate of its own is part of a method's setting, but where one method has several, it is the problem's.
        arms = _grouped(kin, lambda r: {k: v for k, v in r["config"].items() if k not in ("seed", "evaluate_train", "lr")})
        rates = lambda runs: {r["config"].get("lr") for r in runs}  # noqa: E731
        several = any(len(rates(arm)) > 1 for arm in arms)
        for group in _grouped(kin, shared) if several else [kin]:
            families.append((shared(group[0]) | ({"lr": None} if len(rates(group)) > 1 else {}), _arms(group)))
    return families


def _grouped(items: Iterable[Any], by: Any) -> list[list]:
    groups = defaultdict(list)
    for item in items:
        groups[repr(sorted(by(item).items()))].append(item)
    return list(groups.values())


def _arms(records: Sequence[Mapping[str, Any]]) -> list[Arm]:
    arms: dict[tuple, Arm] = {}
    rates = {r["config"].get("lr") for r in records}
    for record in records:
        config = record["config"]
        options = {k: config[k] for k in (*OPTIONS, *(["lr"] if len(rates) > 1 else [])) if k in config}
        method = config["base"] if config["method"] == "plain" else config["method"]
        arm = arms.setdefault((method, *options.items()), Arm(method, options))
        arm.runs[config["epochs"]][config["seed"]] = record["result"]
    for arm in arms.values():
        kin = [other for other in arms.values() if other.method == arm.method]
        differ = [k for k in arm.options if any(other.options.get(k) != arm.options[k] for other in kin)]
        arm.label = ", ".join([arm.method, *(_said(k, arm.options[k]) for k in differ)])
    return sorted(arms.values(), key=lambda arm: arm.rank)


def _rank(method: str) -> tuple[int, str]:
    return (*ORDER, method).index(method), method


def _view(base: Arm, arms: Sequence[Arm], absent: Sequence[str], epochs: int, budget: str) -> dict[str, Any]:
    """The rows of one plot, and what their pairs say of the seeds that a difference takes."""
    rows = [_row(arm, base, epochs, budget) for arm in arms if arm is not base]
    lengths = sorted({epochs, *(row["against"] for row in rows if "against" in row)})
    place = arms.index(base)
    rows[place:place] = [base.row(length, epochs) | {"why": "base"} for length in lengths]
    rows += [{"method": m, "label": m, "why": "not run yet" if m in ORDER else "not in this library"} for m in absent]
    rows.sort(key=lambda row: _rank(row["method"]))
    sure = [row for row in rows if row.get("half") is not None]
    for row, p in zip(sure, holm([_alone(row["pairs"]) for row in sure]), strict=True):
        row["p"] = round(p, 4)
    pooled = [[a - b for _, a, b in row["pairs"]] for row in sure]
    spread = needed = None
    if pooled:
        squares = sum((len(differences) - 1) * statistics.variance(differences) for differences in pooled)
        spread = math.sqrt(squares / sum(len(differences) - 1 for differences in pooled))
        needed = [seeds_needed(stop, spread) for stop in STOPS]
    return {"rows": rows, "spread": spread, "needed": needed}


def _row(arm: Arm, base: Arm, epochs: int, budget: str) -> dict[str, Any]:
    """The row of `arm`: its pairs with `base`, or what has to be run for them."""
    ours = theirs = epochs
    if budget == "gradients":
        most = max(arm.gradients(epochs), base.gradients(epochs))
        ours, theirs = arm.with_gradients(most), base.with_gradients(most)
        for short, length in ((arm, ours), (base, theirs)):
            if length is None:
                wanted = f"{epochs * most / short.gradients(epochs):g} epochs"
                why = f"not run yet at {wanted}" if short is arm else f"not run yet: {base.label} at {wanted}"
                return arm.row(epochs, epochs) | {"why": why}
    return arm.row(ours, epochs) | _difference(arm.accuracies(ours), base.accuracies(theirs)) | {"against": theirs}


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[str, Any]:
    """Pairs of runs with one seed, the mean of their differences, and, from three on, its interval's half-width."""
    pairs = [[seed, ours[seed], theirs[seed]] for seed in ours if seed in theirs]
    if not pairs:
        return {"why": "no seed in common"}
    mean, half = student([a - b for _, a, b in pairs])
    return {"pairs": pairs, "mean": round(mean, 4), "half": round(half, 4) if len(pairs) >= LEAST_PAIRS else None}


def _alone(pairs: Sequence[Sequence[float]]) -> float:
    """The p-value of a row by itself."""
    return compare({seed: ours for seed, ours, _ in pairs}, {seed: theirs for seed, _, theirs in pairs}).paired_p


def _names(problems: Sequence[dict]) -> list[tuple[str, str]]:
    """Each problem's whole name, and the shortest beginning, data and network at least, that no other problem has."""
    families = [problem["family"] for problem in problems]
    parts = []
    for problem, family in zip(problems, families, strict=True):
        data, network = (NAMES.get(family[k], family[k]) for k in ("data", "network"))
        if family.get("examples"):
            data += f" ({family['examples']:,} {'images' if family['data'] in IMAGES else 'examples'})"
        kin = [other for other in families if (other["data"], other["network"]) == (family["data"], family["network"])]
        if any(other.get("width") != family.get("width") for other in kin):
            network += f" {'/'.join(map(str, family['width']))}"
        noise = [f"{family['label_noise']:.0%} wrong labels"] if family.get("label_noise") else []
        parts.append((data, network, *noise, f"{problem['epochs']} epochs"))
    names = []
    for part, family in zip(parts, families, strict=True):
        twins = [other for other, same in zip(families, parts, strict=True) if same == part]
        keys = dict.fromkeys(key for twin in twins for key in twin if key not in PLACE)
        differ = [key for key in keys if any(twin.get(key) != family.get(key) for twin in twins)]
        names.append((*part, *(_said(key, family.get(key)) for key in differ)))
    alone = lambda head: sum(name[: len(head)] == head for name in names) == 1  # noqa: E731
    heads = [next((n[:k] for k in range(2, len(n)) if alone(n[:k])), n) for n in names]
    return [(", ".join(name), ", ".join(head)) for name, head in zip(names, heads, strict=True)]


def _said(key: str, value: Any) -> str:
    """A setting in words."""
    name = SYMBOLS.get(key, key.replace("_", " "))
    if value is None or value is False:
        return f"no {name}"
    if value is True:
        return name
    return f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {NAMES.get(value, value)}"


def _claims(reported: Iterable[Mapping[str, Any]]) -> tuple[dict, dict[str, list[str]]]:
    """The papers' differences by data, base and method, and the methods that they name for each data set.

    A difference is [paper, network, method's accuracy, base's accuracy, half-width of its 95% interval by Welch].
    """
    cells: dict[tuple, dict[str, tuple[float, float]]] = defaultdict(dict)
    named: dict[str, list[str]] = defaultdict(list)
    for row in reported:
        if row["paper"] not in PAPERS:
            raise ValueError(f"reported names the paper {row['paper']!r}; known are {', '.join(PAPERS)}")
        cells[row["data"], row["paper"], row["network"]][row["method"]] = float(row["accuracy"]), float(row["deviation"])
        if row["method"] not in named[row["data"]]:
            named[row["data"]].append(row["method"])
    claims: dict[str, dict] = {data: {"SGD": defaultdict(list), "SAM": defaultdict(list)} for data in named}
    for (data, paper, network), methods in cells.items():
        for base in claims[data]:
            for method in methods:
                if base in methods and method != base:
                    (ours, a), (theirs, b) = methods[method], methods[base]
                    half = round(_welch_half(a, b), 2)
                    claims[data][base][method].append([paper, NAMES.get(network, network), ours, theirs, half])
    return {data: {base: dict(found) for base, found in bases.items()} for data, bases in claims.items()}, named


def _welch_half(first: float, second: float, n: int = PAPER_SEEDS, level: float = 0.95) -> float:
    """Half-width of the interval of a difference of two means over n seeds each, not paired, by their deviations."""
    u, v = first**2 / n, second**2 / n
    if u + v == 0:
        return 0.0
    freedom = (u + v) ** 2 * (n - 1) / (u**2 + v**2)
    return float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(u + v)
