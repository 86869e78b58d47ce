"""What flatness is measured by: sharpness, curvature, gradient noise, relative flatness and their relatives.

Every measure takes a `Landscape`, a toy or a network alike, and one point `w` of shape `(d,)`. An exact one returns a
float; a sampled one an `Estimate`, a value with its standard error. `top_eigenvalues` and `hessian_density` return a
spectrum.
"""

from flatlab.measures.ball import local_average, local_oscillation
from flatlab.measures.estimate import Estimate
from flatlab.measures.fisher import fisher_rao
from flatlab.measures.noise import gradient_noise, noise_energy
from flatlab.measures.nonuniformity import hessian_nonuniformity
from flatlab.measures.pacbayes import pac_bayes
from flatlab.measures.relative import feature_robustness, relative_flatness
from flatlab.measures.sharpness import average_sharpness, sam_sharpness
from flatlab.measures.spectrum import SpectralDensity, hessian_density, top_eigenvalues
from flatlab.measures.trace import hessian_frobenius, hessian_trace
from flatlab.measures.weights import weight_norm

__all__ = [
    "Estimate",
    "SpectralDensity",
    "average_sharpness",
    "feature_robustness",
    "fisher_rao",
    "gradient_noise",
    "hessian_density",
    "hessian_frobenius",
    "hessian_nonuniformity",
    "hessian_trace",
    "local_average",
    "local_oscillation",
    "noise_energy",
    "pac_bayes",
    "relative_flatness",
    "sam_sharpness",
    "top_eigenvalues",
    "weight_norm",
]
