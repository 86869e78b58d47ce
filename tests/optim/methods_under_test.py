"""Every method of the registry as what the tests of optimizers run over, and the closure that they step with."""

import pytest
from torch.nn.functional import cross_entropy

from flatlab import optim
from flatlab.methods import METHODS

OPTIMIZERS = [getattr(optim, name) for name in METHODS]
WHOLE = [opt for opt in OPTIMIZERS if not opt.method.cuts]
CUTTING = [opt for opt in OPTIMIZERS if opt.method.cuts]
LOCAL = [opt for opt in WHOLE if opt.method.local_ascent]
"""Those that take `no_sync` without looking at parts of the batch."""


def each(optimizers):
    return pytest.mark.parametrize("method", optimizers, ids=lambda opt: opt.__name__)


every_method, every_cutting_method = each(WHOLE), each(CUTTING)


def closure_of(model, opt, x, y):
    def closure():
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure
