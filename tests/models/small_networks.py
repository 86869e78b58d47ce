"""Small relatives of the papers' networks, one of each family, with every branch of its code."""

from flatlab.models import build
from flatlab.models.densenet import DenseNet
from flatlab.models.fast_cifar import FastCifar
from flatlab.models.pyramidnet import PyramidNet
from flatlab.models.resnet import ResNet
from flatlab.models.resnext import ResNeXt
from flatlab.models.vision_transformer import VisionTransformer
from flatlab.models.wide_resnet import WideResNet

LENET = (3, 28, 28)
IMAGE = (3, 8, 8)
"""What the others take."""
LARGER = (3, 11, 11)
"""What fast_cifar takes: its three poolings need 9x9."""

SMALL = {
    "LeNet5": lambda: build("lenet5", LENET, 3),
    "fast_cifar": lambda: FastCifar(LARGER, 3, (25, 6, 7)),
    "ResNet A": lambda: ResNet(IMAGE, 3, 8, "A"),
    "ResNet B": lambda: ResNet(IMAGE, 3, 8, "B"),
    "ResNeXt": lambda: ResNeXt(IMAGE, 3, 11, 4, 2),
    "WideResNet": lambda: WideResNet(IMAGE, 3, 10, 1),
    "PyramidNet": lambda: PyramidNet(IMAGE, 3, 8, 9),
    "PyramidNet, bottleneck": lambda: PyramidNet(IMAGE, 3, 11, 9, True),
    "DenseNet": lambda: DenseNet(IMAGE, 3, 10, 4),
    "perceptron": lambda: build("fcn3", IMAGE, 3),
    "vision transformer": lambda: VisionTransformer(IMAGE, 3, width=24, depth=2, heads=4),
}

CONVOLUTIONAL = [family for family in SMALL if family not in ("perceptron", "vision transformer")]


def shape(family: str) -> tuple[int, int, int]:
    """Of the images that a family of `SMALL` takes."""
    return {"LeNet5": LENET, "fast_cifar": LARGER}.get(family, IMAGE)
