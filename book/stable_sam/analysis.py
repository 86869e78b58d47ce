"""StableSAM: the verdicts on the paper's claims that follow from records."""

from book.stable_sam import twins

CLAIMS = twins.CLAIMS
