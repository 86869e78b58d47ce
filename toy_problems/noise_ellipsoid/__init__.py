"""The noise ellipsoid in the plane."""

from toy_problems.noise_ellipsoid.noise_ellipsoid import NoiseEllipsoid

__all__ = ["NoiseEllipsoid"]
