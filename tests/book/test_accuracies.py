"""What the chapter on CIFAR counts in the papers' tables, by formula, beside scipy's test that the book takes."""

import itertools
import math
import statistics

from scipy import stats

from book import accuracies


def half_width(first, second, n=3):
    """Of the 95% interval of a difference of two means, by Welch (1947) with Satterthwaite's degrees of freedom."""
    u, v = first**2 / n, second**2 / n
    return stats.t.ppf(0.975, (u + v) ** 2 * (n - 1) / (u**2 + v**2)) * math.sqrt(u + v)


def pairs(kept):
    rows = [a for a in accuracies.reported() if a.data in ("cifar10", "cifar100") and kept(a.method)]
    return [(a, b) for a, b in itertools.combinations(rows, 2) if a[:3] == b[:3]]


def test_most_differences_between_variants_of_sam_are_within_their_intervals():
    told = pairs(lambda method: method not in ("SGD", "LSAM", "GASAM"))
    unclear = [abs(a.accuracy - b.accuracy) <= half_width(a.deviation, b.deviation) for a, b in told]
    words = accuracies.in_words()
    assert (words["papers-unclear"], words["papers-variants"]) == (str(sum(unclear)), str(len(told)))
    assert sum(unclear) > len(told) / 2, "the chapter's first paragraph says most"


def test_half_of_the_differences_within_a_paper_are_smaller_than_those_between_papers():
    several = {}
    for a in accuracies.reported():
        several.setdefault((a.data, a.network, a.method), []).append(a.accuracy)
    median = statistics.median(max(v) - min(v) for v in several.values() if len(v) > 1)
    told = pairs(lambda method: True)
    smaller = sum(abs(a.accuracy - b.accuracy) < median for a, b in told)
    words = accuracies.in_words()
    assert (words["papers-smaller"], words["papers-pairs"]) == (str(smaller), str(len(told)))
    assert 2 * smaller > len(told)
