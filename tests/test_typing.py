"""What a type checker sees of the library in somebody else's program."""

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from torch import Tensor, nn

from flatlab import data, measures, models, penalties, rules
from flatlab.landscape import Landscape, Network
from flatlab.optim import SAM
from flatlab.training import Train

model = models.build("fcn", (1, 8, 8), 10)
optimizer = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05)


def closure() -> Tensor:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(torch.zeros(2, 1, 8, 8)), torch.tensor([0, 1]))
    loss.backward()
    return loss


loss = optimizer.step(closure)
digits = data.load("digits")
net = Landscape.of(model, nn.functional.cross_entropy, (torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])))
direction = rules.sam(net.w0, net.grad, rho=0.05)
trace = measures.hessian_trace(net, net.w0)
batch = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
penalty = penalties.hessian_frobenius_penalty(model, nn.functional.cross_entropy, batch)
own = Train(network=model, data=(*batch, *batch), epochs=1).finished("runs", seed=1).landscape()
accuracy = Train(data="digits", network="logistic", epochs=1).run()["final"]["accuracy"]
reveal_type(net)
reveal_type(optimizer)
reveal_type(penalty)
"""


@pytest.mark.slow
def test_a_program_that_uses_the_library_passes_mypy(tmp_path):
    """Against the library's own types, as strictly as mypy can be: but torch's `backward` has none."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    how = ["--strict", "--allow-untyped-calls", "--follow-imports", "silent", "--cache-dir", str(tmp_path)]
    told = subprocess.run([sys.executable, "-m", "mypy", *how, str(file)], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    for what in ("flatlab.landscape.network.Network", "flatlab.optim.engine.RuleOptimizer", "torch._tensor.Tensor"):
        assert f'Revealed type is "{what}"' in told.stdout
