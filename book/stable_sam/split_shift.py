"""Training images against test images: our records, and the verdict that follows."""

from __future__ import annotations

from typing import Any

from book.finding import DATA, RESULTS, Finding, of_all, span
from flatlab.runs import records

SETS = ("cifar10", "mnist")
"""Those of the paper's twins."""


def shares(data: str, augment: str) -> list[float]:
    """How many of the other images are told right, in percent, a number a draw."""
    return [100 * share for share in record(data)["result"]["told"][augment]]


def record(data: str) -> dict[str, Any]:
    """The record of a data set."""
    return records.only(RESULTS, "split_shift", data=data)


def small_without_augmentation() -> Finding:
    """On both sets unchanged images are told within five points of chance, and cropped ones ten points more often."""
    plain, cropped = ({data: shares(data, augment) for data in SETS} for augment in ("none", "crop"))
    alike = [max(abs(v - 50) for v in plain[data]) < 5 for data in SETS]
    moved = [min(cropped[data]) > max(plain[data]) + 10 for data in SETS]
    told = "; ".join(f"{DATA[d]} {span(plain[d], '.1f')}% unchanged, {span(cropped[d], '.1f')}% cropped" for d in SETS)
    words = (
        "Logistic regression on means of blocks and the deviation of edges tells training images from test images in this "
        f"share of others: {told}. Chance is 50%; what is above it with unchanged images is the data's own shift."
    )
    c = record("cifar10")["config"]
    size = f"{' and '.join(DATA[d] for d in SETS)}, {c['images']:,} images of either kind to learn from, {c['seeds']} draws"
    return Finding(of_all([*alike, *moved]), words, size, [record(data) for data in SETS])


CLAIMS = {"stable-sam/no-augmentation-small-shift": small_without_augmentation}
