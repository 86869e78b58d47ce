"""Nonuniformity: the verdicts on the paper's claims that follow from records."""

from book.nonuniformity import escapes, indicators, mnist, sparse, valleys

CLAIMS = escapes.CLAIMS | valleys.CLAIMS | sparse.CLAIMS | mnist.CLAIMS | indicators.CLAIMS
