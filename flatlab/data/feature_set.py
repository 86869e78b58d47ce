"""Tables of features with labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from flatlab.data.checksum import checksum

__all__ = ["FeatureSet"]


@dataclass(frozen=True)
class FeatureSet:
    """A split into training and test rows.

    `x_train` and `x_test` have shape `(n, d)` and type float32, in the units of their source; column `j` holds
    `features[j]`. `y_train` and `y_test` are labels, shape `(n,)`, int64. Label `k` stands for `classes[k]`.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    features: tuple[str, ...]
    classes: tuple[str, ...]

    def standardized(self) -> FeatureSet:
        """Both parts as `(x - mean) / deviation`, column by column, with the training part's mean and deviation.

        The deviation is that of the population (divisor `n`). A column that is constant in training is only centred.

        >>> import torch
        >>> x, y = torch.tensor([[0.0, 5.0], [2.0, 5.0]]), torch.tensor([0, 1])
        >>> table = FeatureSet("two", x, y, x + 1, y, ("a", "b"), ("no", "yes")).standardized()
        >>> table.x_train.tolist(), table.x_test.tolist()
        ([[-1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [2.0, 1.0]])
        """
        train = self.x_train.double()
        mean, deviation = train.mean(0), train.std(0, correction=0)
        constant = self.x_train.amin(0) == self.x_train.amax(0)  # exact, where a rounded deviation is not
        deviation[constant] = 1

        def scaled(x: Tensor) -> Tensor:
            return ((x.double() - mean) / deviation).float()

        return replace(self, x_train=scaled(self.x_train), x_test=scaled(self.x_test))

    def checksum(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over all features and labels."""
        return checksum((self.x_train, self.y_train, self.x_test, self.y_test))
