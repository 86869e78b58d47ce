"""StableSAM: the verdicts on the paper's claims that follow from records."""

from book.stable_sam import (
    against_sgd,
    eigenvector_cuts,
    flat_regions,
    gradient_pairs,
    large_rates,
    printed,
    split_shift,
    success_rates,
    twins,
)

CLAIMS = (
    success_rates.CLAIMS
    | gradient_pairs.CLAIMS
    | eigenvector_cuts.CLAIMS
    | flat_regions.CLAIMS
    | against_sgd.CLAIMS
    | twins.CLAIMS
    | large_rates.CLAIMS
    | printed.CLAIMS
    | split_shift.CLAIMS
)
