"""What a run computes in is what its settings say, for the length of the run."""

import pytest
import torch

from flatlab.runs.host import Host
from flatlab.training import Train
from flatlab.training.arithmetic import arithmetic, layout

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def state():
    cudnn, cublas = torch.backends.cudnn, torch.backends.cuda.matmul
    exact = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    return cudnn.allow_tf32, cublas.allow_tf32, cudnn.benchmark, *exact


@pytest.mark.parametrize("precision, rounded", [("fp32", False), ("tf32", True), ("bf16", False)])
def test_factors_are_rounded_where_that_is_asked_for_and_all_is_back_afterwards(precision, rounded):
    before = state()
    with pytest.raises(RuntimeError, match="inside"), arithmetic(CUDA, precision):
        assert state() == (rounded, rounded, False, True, False)
        raise RuntimeError("inside")
    assert state() == before


def test_float32_images_lie_channel_by_channel_on_a_gpu_alone():
    assert layout(CUDA, "fp32") == torch.contiguous_format
    for device, precision in ((CUDA, "tf32"), (CUDA, "bf16"), (CPU, "fp32")):
        assert layout(device, precision) == torch.channels_last


@pytest.mark.parametrize("precision, remedy", [("tf32", "fp32 runs everywhere"), ("fp16", "use bf16 here")])
def test_a_precision_that_a_processor_has_not_is_refused_with_one_that_it_has(precision, remedy):
    setting = Train(data="digits", network="logistic", epochs=1, precision=precision)
    with pytest.raises(ValueError, match=f"precision {precision} needs a CUDA device, got cpu; {remedy}"):
        setting.run(host=Host(device="cpu"))
