"""Images with labels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from flatlab.data.checksum import checksum

__all__ = ["ImageSet"]


@dataclass(frozen=True)
class ImageSet:
    """A split into training and test images.

    `x_train` and `x_test` have shape `(n, channels, height, width)` and type uint8, with values from 0 to `white`;
    `y_train` and `y_test` are labels, shape `(n,)`, int64. Label `k` stands for `classes[k]`.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    white: int
    classes: tuple[str, ...]

    def flat(self, x: Tensor) -> Tensor:
        """Images as rows of numbers in [0, 1]: `(n, ...) -> (n, channels * height * width)`, float32."""
        return x.flatten(1).float() / self.white

    def checksum(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over all images and labels."""
        return checksum((self.x_train, self.y_train, self.x_test, self.y_test))
