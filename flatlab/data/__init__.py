"""Real data sets, under one name each, as arrays of bytes."""

from flatlab.data.image_sets import ImageSet, load

__all__ = ["ImageSet", "load"]
