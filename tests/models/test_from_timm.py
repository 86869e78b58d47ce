"""Networks of timm, where it is installed; a clear way to it, where not."""

import sys

import pytest
import torch

from flatlab.models import build


def test_without_timm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"'timm:resnet18' needs timm .* pip install 'flatlab\[timm\]'"):
        build("timm:resnet18", (3, 32, 32), 10)


@pytest.fixture
def timm():
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm does not import: {error}")
    return timm


def test_timm_networks_have_the_classes_and_channels_asked_for(timm):
    net = build("timm:resnet18", (1, 32, 32), 7).eval()
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    torch.manual_seed(0)
    first = build("timm:vit_tiny_patch16_224", (3, 224, 224), 100)
    assert sum(p.numel() for p in first.parameters()) == 5_543_716
    torch.manual_seed(0)
    assert torch.equal(
        build("timm:vit_tiny_patch16_224", (3, 224, 224), 100).blocks[0].attn.qkv.weight, first.blocks[0].attn.qkv.weight
    )


def test_timm_errors_name_the_network_and_the_shape(timm):
    with pytest.raises(ValueError, match="no network 'resnet_18'; the nearest are 'timm:resnet18"):
        build("timm:resnet_18", (3, 32, 32), 10)
    with pytest.raises(ValueError, match=r"takes images \(channels, 224, 224\), got \(3, 32, 32\)"):
        build("timm:vit_tiny_patch16_224", (3, 32, 32), 10)
    with pytest.raises(ValueError, match=r"timm:resnet18 takes images \(channels, height, width\), got \(784,\)"):
        build("timm:resnet18", (784,), 10)
