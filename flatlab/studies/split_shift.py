"""Whether training images can be told from test images, as they are and augmented (Tan et al. 2025, section 5.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from flatlab.data import IMAGES, load
from flatlab.runs.experiment import Experiment, option
from flatlab.training.batches import AUGMENTATIONS, Batches, Scale

__all__ = ["SplitShift"]


@dataclass(frozen=True)
class SplitShift(Experiment):
    """Ask logistic regression on simple features whether an image is of the training set or of the test set.

    The features are the means over blocks of 4 x 4 pixels in each channel, and the deviation within each of the four
    edges. It learns from `images` of either set, and is judged on as many others: 1/2 is chance.
    """

    data: str = option("cifar10", "data set of images", allowed=IMAGES)
    images: int = option(5000, "of either set, to learn from, and again to judge", least=2)
    augment: tuple[str, ...] = option(("none", "crop"), "what is done to the training images", allowed=AUGMENTATIONS)
    seeds: int = option(3, "draws of the images", least=1)

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """`told`: by augmentation, the share of the other images that is told right, a number a draw; `features`: how many.

        Raises `ValueError` if the data set has fewer than twice as many images to test.
        """
        data = load(self.data)
        if len(data.x_test) < 2 * self.images:
            raise ValueError(f"images must be at most {len(data.x_test) // 2} with {self.data}, got {self.images}")
        told: dict[str, list[float]] = {}
        for augment in self.augment:
            told[augment] = [self.told(data.x_train, data.x_test, augment, seed) for seed in range(1, self.seeds + 1)]
            report(f"{self.data}, {augment}: " + ", ".join(f"{share:.1%}" for share in told[augment]))
        return {"told": told, "features": features(data.x_test[:1].float()).shape[1]}

    def told(self, x_train: Tensor, x_test: Tensor, augment: str, seed: int) -> float:
        """The share of one draw."""
        from sklearn.linear_model import LogisticRegression  # slow to import

        n, generator = self.images, torch.Generator().manual_seed(seed)
        training = x_train[torch.randperm(len(x_train), generator=generator)[: 2 * n]]
        test = x_test[torch.randperm(len(x_test), generator=generator)[: 2 * n]]
        scale = Scale(training)
        batches = Batches(training, torch.zeros(2 * n), size=2 * n, seed=seed, scale=scale, augment=augment)
        batches.begin(0)
        (mine, others), (seen, unseen) = features(batches[0][0]).split(n), features(scale(test)).split(n)
        is_test = torch.arange(2 * n) >= n
        model = LogisticRegression(max_iter=2000).fit(torch.cat([mine, seen]), is_test)
        return float(model.score(torch.cat([others, unseen]), is_test))


def features(x: Tensor) -> Tensor:
    """`(n, channels, height, width) -> (n, blocks * channels + 4)`."""
    edges = (x[:, :, 0], x[:, :, -1], x[..., 0], x[..., -1])
    return torch.cat([avg_pool2d(x, 4).flatten(1), torch.stack([edge.std((1, 2)) for edge in edges], 1)], 1)
