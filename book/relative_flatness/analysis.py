"""Relative flatness: the verdicts that follow from records, on its own claims and on what all papers take for granted."""

from book.relative_flatness import correlations, minima, representativeness

CLAIMS = minima.CLAIMS | correlations.CLAIMS | representativeness.CLAIMS | minima.BACKGROUND
