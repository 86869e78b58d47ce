"""What a file here declares of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flatlab.data.feature_set import FeatureSet
from flatlab.data.image_set import ImageSet
from flatlab.data.text_set import TextSet
from flatlab.declared import Declared

__all__ = ["Source"]


@dataclass(frozen=True, kw_only=True)
class Source(Declared):
    """A data set: `read` returns it, which is of the type `holds`. If it is `fetched`, `read` takes the folder for it."""

    read: Callable[..., ImageSet | FeatureSet | TextSet]
    holds: type = ImageSet
    fetched: bool = False
