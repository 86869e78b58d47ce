"""Do SAM and StableSAM lead SGD on CIFAR-10, and StableSAM SAM: our runs of twelve epochs, and the verdicts."""

from __future__ import annotations

import math

from book import twelve_epochs
from book.finding import Finding, graded, scale, span

METHODS = ("SAM", "StableSAM")


def greatly_better() -> Finding:
    """Both lead SGD for certain, and by as much as the paper's least lead; in part if one of them leads for certain."""
    leads = {name: twelve_epochs.lead(name) for name in METHODS}
    certain = [mean - half > 0 for mean, half in leads.values()]
    as_told = [mean >= min(twelve_epochs.claimed(name)) for name, (mean, _) in leads.items()]
    words = "The narrow fast_cifar on CIFAR-10 after 12 epochs, test accuracy less SGD's in points: "
    words += " and ".join(f"{name} {twelve_epochs.told(name)}" for name in METHODS)
    told = " and ".join(span(twelve_epochs.claimed(name)) for name in METHODS)
    words += f". The paper's leads on CIFAR-10, of other networks after 200 epochs, are {told}. "
    for name, (mean, half) in leads.items():
        if mean + half < 0:
            words += f"At this length the interval of {name} lies below zero. "
        elif math.isfinite(half):
            words += f"A lead of {name} of more than {mean + half:.2f} is excluded at this length. "
    words += "Both take two gradients in each step; SGD at twice the epochs was not run."
    used = [r for name in ("SGD", *METHODS) for r in twelve_epochs.runs()[name].values()]
    return Finding(graded(all(certain) and all(as_told), any(certain)), words, scale(used), used)


def generalizes_better() -> Finding:
    """StableSAM leads SAM for certain. In part at most: whether anything is stabilized at this rate is not measured."""
    mean, half = twelve_epochs.lead("StableSAM", "SAM")
    words = (
        "The narrow fast_cifar on CIFAR-10 after 12 epochs, test accuracy of StableSAM less SAM's in points: "
        f"{twelve_epochs.told('StableSAM', 'SAM')}. A lead of more than {half:.2f} would have shown; the paper's on "
        f"CIFAR-10, of other networks after 200 epochs, are {span(twelve_epochs.claimed('StableSAM', 'SAM'))}. Whether "
        "StableSAM had anything to stabilize at this rate was not measured; how both stand at large ones, LeNet5 tells "
        "(see stable-sam/robust-and-comparable)."
    )
    used = [r for name in METHODS[::-1] for r in twelve_epochs.runs()[name].values()]
    return Finding(graded(False, mean - half > 0), words, scale(used), used)


CLAIMS = {
    "stable-sam/both-greatly-better-than-sgd": greatly_better,
    "stable-sam/summary-improved-generalization": generalizes_better,
}
