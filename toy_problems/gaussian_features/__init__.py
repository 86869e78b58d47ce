"""Four Gaussians in feature space, and whether relative flatness follows the gap on them."""

from toy_problems.gaussian_features.flatness_and_gap import FlatnessAndGap, Representativeness
from toy_problems.gaussian_features.landscape import FeatureMap, FourGaussians, GaussianFeatures
from toy_problems.gaussian_features.locally_constant_labels import LocallyConstantLabels

__all__ = [
    "FeatureMap",
    "FlatnessAndGap",
    "FourGaussians",
    "GaussianFeatures",
    "LocallyConstantLabels",
    "Representativeness",
]
