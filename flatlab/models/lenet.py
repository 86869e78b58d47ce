"""LeNet-5 with ReLU and max pooling, as trained on CIFAR-10 today."""

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from flatlab.models.architecture import Architecture

__all__ = ["LeNet5"]


class LeNet5(nn.Module):
    """Images `(b, c, 32, 32)` or `(b, c, 28, 28)` to logits `(b, classes)`: convolutions of 6 and 16 filters of 5x5,
    each followed by 2x2 max pooling, then layers of 120, 84 and `classes`.

    28x28 images are padded with two zeros a side, as LeCun et al. 1998 place MNIST in a 32x32 field. That paper's
    trained pooling, partly connected second convolution and Gaussian outputs are not here: what is called LeNet-5 on
    CIFAR-10 leaves them out. In PyTorch's own initialization.

    Raises `ValueError` for other sizes.

    >>> sum(p.numel() for p in LeNet5((3, 32, 32), 10).parameters())
    62006
    """

    def __init__(self, shape: tuple[int, ...], classes: int):
        super().__init__()
        if len(shape) != 3 or tuple(shape[1:]) not in ((32, 32), (28, 28)):
            raise ValueError(f"lenet5 takes images (channels, 32, 32) or (channels, 28, 28), got {tuple(shape)}")
        self.conv1 = nn.Conv2d(shape[0], 6, 5, padding=(32 - shape[1]) // 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.linear1, self.linear2, self.out = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images `x`."""
        x = relu(max_pool2d(self.conv1(x), 2))  # as the other way round, to the bit, on a quarter of the numbers
        x = relu(max_pool2d(self.conv2(x), 2))
        x = relu(self.linear1(x.flatten(1)))
        return self.out(relu(self.linear2(x)))


LENET5 = Architecture(name="lenet5", title="LeNet5", place=5, make=LeNet5)
