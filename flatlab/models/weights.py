"""The initialization that the papers' convolutional networks share."""

from math import sqrt

from torch import nn

__all__ = ["he_normal"]


def he_normal(net: nn.Module) -> nn.Module:
    """Initialize `net` in place and return it, in the order of its modules from torch's global generator.

    Convolutions: normal with variance `2 / (output channels per group * kernel area)`, the "fan out" rule of He et al.
    2015, section 2.2. BatchNorm: weight 1, bias 0. Linear layers: PyTorch's uniform weights, bias 0.

    >>> conv = he_normal(nn.Conv2d(16, 64, 3))
    >>> print(f"{conv.weight.std() * 288 ** 0.5:.1f}")      # sqrt(64 * 9 / 2)^-1 is the standard deviation, 288^-1/2
    1.0
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            nn.init.normal_(module.weight, 0.0, sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return net
