"""What a network asks of the shape of one input."""

__all__ = ["image"]


def image(network: str, shape: tuple[int, ...], side: int = 4) -> int:
    """Number of channels of an image shape `(channels, height, width)`, both sides at least `side` pixels.

    Raises `ValueError`, naming the network and the shape, for any other.

    >>> image("resnet20", (3, 32, 32))
    3
    """
    if len(shape) != 3 or min(shape[1:]) < side or shape[0] < 1:
        raise ValueError(f"{network} takes images (channels, height, width) of at least {side}x{side}, got {tuple(shape)}")
    return shape[0]
