"""The colours of the methods are seen on both pages, and told apart, also by readers who see no green."""

from itertools import combinations

import pytest
import torch

from flatlab.methods import METHODS
from flatlab.palette import PALETTE

PAGES = {"light": "#ffffff", "dark": "#14181e"}
DEUTERANOPIA = torch.tensor(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
"""What is left of linear red, green and blue: Machado, Oliveira and Fernandes 2009, severity 1."""
TOGETHER = [
    ("SGD", *METHODS),  # the runs
    ("SGD", "SAM", "COV", "COV, whole"),
    ("SGD", "Momentum", "Nesterov", "SAM", "SAM as published", "GD"),
    ("GD", "SAM", "StableSAM"),
    ("GD", "FA"),
]
"""Methods that stand in one picture."""


def linear(colour):
    """Linear red, green and blue of a hexadecimal colour."""
    c = torch.tensor([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return torch.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    """Relative luminance, as WCAG 2 defines it."""
    return (linear(colour) @ torch.tensor([0.2126, 0.7152, 0.0722])).item()


def perceived(rgb):
    """Oklab, times 100: a distance of about 2 is just seen side by side."""
    cones = torch.tensor([[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]])
    axes = torch.tensor([[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]])
    return 100 * axes @ (cones @ rgb.clamp(0, 1)) ** (1 / 3)


@pytest.mark.parametrize("name", PALETTE["methods"])
def test_a_line_has_a_contrast_of_three_to_one_on_a_light_and_on_a_dark_page(name):
    """WCAG 2, success criterion 1.4.11."""
    for page, ground in PAGES.items():
        low, high = sorted((luminance(PALETTE["methods"][name]), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3, page


@pytest.mark.parametrize("names", TOGETHER, ids=len)
@pytest.mark.parametrize("seen", [torch.eye(3), DEUTERANOPIA], ids=["trichromat", "deuteranope"])
def test_two_methods_of_one_picture_are_told_apart(names, seen):
    look = {name: perceived(seen @ linear(PALETTE["methods"][name])) for name in names}
    near = {(a, b): (look[a] - look[b]).norm().item() for a, b in combinations(names, 2)}
    assert min(near.values()) > 6.5, min(near, key=near.get)


def test_a_repaired_method_does_not_look_like_the_one_that_it_repairs():
    for pair in (("SAM", "USAM"), ("SAM", "StableSAM"), ("ASAM", "StableASAM")):
        for seen in (torch.eye(3), DEUTERANOPIA):
            one, other = (perceived(seen @ linear(PALETTE["methods"][name])) for name in pair)
            assert (one - other).norm() > 12
