"""Real data sets, under one name each, split into training and test parts."""

from flatlab.data.catalogue import IMAGES as IMAGES  # not in __all__: the reference lists what has a docstring
from flatlab.data.catalogue import NAMES as NAMES
from flatlab.data.catalogue import TITLES as TITLES
from flatlab.data.catalogue import load
from flatlab.data.feature_set import FeatureSet
from flatlab.data.held_out import held_out
from flatlab.data.image_set import ImageSet
from flatlab.data.text_set import TextSet

__all__ = ["FeatureSet", "ImageSet", "TextSet", "held_out", "load"]
