"""Intervals, paired comparisons and correlations, as the book's verdicts need them."""
