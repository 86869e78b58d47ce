"""Nonuniformity: the verdicts on the paper's claims that follow from records."""

from book.nonuniformity import mnist, sparse

CLAIMS = sparse.CLAIMS | mnist.CLAIMS
