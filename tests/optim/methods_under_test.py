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


def each(optimizers, quick=None):
    """Over all of them; with `quick`, the quick check is over those alone."""
    marks = {opt: () if quick is None or opt in quick else pytest.mark.slow for opt in optimizers}
    params = [pytest.param(opt, id=opt.__name__, marks=mark) for opt, mark in marks.items()]
    return pytest.mark.parametrize("method", params)


every_method, every_cutting_method = each(WHOLE), each(CUTTING)


def closure_of(model, opt, x, y):
    def closure():
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure
