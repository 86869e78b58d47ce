"""Relative flatness: the verdicts that follow from records, on its own claims and on what all papers take for granted."""

from book.relative_flatness import minima

CLAIMS = minima.CLAIMS | minima.BACKGROUND
