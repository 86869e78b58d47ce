"""SAM: climbs once, along the gradient, and descends along the gradient found there."""

from __future__ import annotations

from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, non_negative, stepped


def sam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """Sharpness-aware minimization: `grad(w + rho * g / ||g||)` with `g = grad(w)`.

    `rho` is the radius of the ascent step, in the units of `w`. Raises `ValueError` if it is negative or not finite.

    Source: Foret et al. 2021, equation (2) and Algorithm 1.

    >>> import torch
    >>> sam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)      # 3 * (2 + 0.5)
    tensor([7.5000])
    """
    return grad(stepped(w, grad(w), non_negative("rho", rho)))


class SAM(Method):
    r"""Sharpness-aware minimization: steps along $\nabla L(w + \rho\, g / \|g\|)$ with $g = \nabla L(w)$.

    - `base_optimizer`: the optimizer that makes the step, `SGD(...)` or `AdamW(...)`, say.
    - `rho`: the radius of the ascent step, in the units of the weights, >= 0. Each group may have its own.
    - `check_finite`: whether a loss or gradient that is not finite raises `FloatingPointError`.
    - `no_sync`: `ddp.no_sync`, to let each worker ascend along its own gradient.
    - `every`: perturbs in one of so many steps, the base optimizer alone makes those between; None in all of them.

    With `rho = 0` it is the base optimizer, to the bit. Where the gradient is zero, so is the ascent step.

    Raises `TypeError` if `base_optimizer` is no optimizer, or calls a closure itself (LBFGS); `ValueError` if `rho`
    is negative or not finite, `every` is below 1, or the base optimizer has an option of that name, or parameters that are
    shards. For the errors of a step see `step`.

    Source: Foret et al. 2021, equation (2) and Algorithm 1.

    >>> import torch
    >>> from flatlab.optim import SAM
    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure)               # the loss at 2
    tensor(6.)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5)
    tensor([1.2500])
    """

    rule = staticmethod(sam)
    rho = Option(0.05, "radius of the ascent", least=0, unit="the weights")
    source = "Foret et al. 2021, equation (2) and Algorithm 1"
    about = "the normalized method of Foret et al.: a step to where the loss rises fastest, and the gradient there"
    colour, dash, place = "#d97c0c", "solid", 1
