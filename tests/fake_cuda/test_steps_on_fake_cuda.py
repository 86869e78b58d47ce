"""Steps where tensors and parameters lie on a device "cuda", without a card: none mixes devices or waits for a number.

On `meta` (see `test_optim_waits`) a tensor that was left on the CPU goes unseen, since all shapes mix with it there.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
WRITTEN_FOR = "2.13."
"""The torch whose internals the device knows; another may have changed them."""
COMPILER = shutil.which("g++")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        torch.cuda.is_available() or COMPILER is None or not sys.platform.startswith("linux"),
        reason="needs Linux, a compiler and no card",
    ),
]
SOUND = (
    "ASAM", "CSAM", "LSAM", "MSAM", "SAM", "SAMGCM", "StableASAM", "StableSAM", "USAM", "fa", "cov", "minibatches",
    "training", "training, SAM", "training, Adam", "training, fa", "training, cov",
)  # fmt: skip
CAUGHT = {
    "a number": "DataDependentOutputException",
    "two devices": "FakeTensorDeviceMismatchError",
    "a fetched tensor": "fetches a tensor from the device",
    "a list on two devices": "_foreach_mul_ of tensors on",
    "an index left behind": "index of tensors on",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    torch_folder = Path(torch.__file__).parent
    device = tmp_path_factory.mktemp("fake_cuda") / "device.so"
    headers = [f"-I{torch_folder / 'include' / part}" for part in ("", "torch/csrc/api/include")]
    libraries = [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch_folder / 'lib'}"]
    built = subprocess.run(
        [COMPILER, "-std=c++20", "-shared", "-fPIC", *headers, HERE / "device.cpp", "-o", device, *libraries],
        capture_output=True, text=True,
    )  # fmt: skip
    if built.returncode and not torch.__version__.startswith(WRITTEN_FOR):
        pytest.skip(f"torch {torch.__version__} has other internals: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr[-2000:]
    ran = subprocess.run([sys.executable, HERE / "steps.py", device], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return dict(json.loads(line) for line in ran.stdout.splitlines())


def test_every_case_is_asked_for(outcomes):
    assert set(outcomes) == {*SOUND, *CAUGHT}


@pytest.mark.parametrize("case", SOUND)
def test_the_device_is_never_left(case, outcomes):
    assert outcomes[case] == "sound"


@pytest.mark.parametrize("case", CAUGHT)
def test_what_would_leave_it_is_caught(case, outcomes):
    assert CAUGHT[case] in outcomes[case]
