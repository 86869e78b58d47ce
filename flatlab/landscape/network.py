"""A loss on flat vectors that is made of a model, a loss and data."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from flatlab.landscape.curvature import STEP, Refused, Unnarrowed, differences, math_attention, refusal
from flatlab.landscape.landscape import Landscape
from flatlab.landscape.lent import Place, lent
from flatlab.landscape.means import need_mean, splits
from flatlab.landscape.memory import ran_out
from flatlab.landscape.parameters import chosen
from flatlab.landscape.proofs import Proofs
from flatlab.landscape.replaced import replaced
from flatlab.landscape.samples import each, floats, gathered, length, passed, refuse_nan, rows, widened
from flatlab.landscape.stillness import moved_buffers, structure

__all__ = ["Network"]

SMALL = 256
"""Samples that one pass takes unasked."""
NUMBERS = 2**25
"""Numbers a forward pass may keep for the backward pass; a Hessian product holds about four times as many."""
PROBED = 4
"""Samples on which a derivative is proved."""

WRITES = (
    "the forward pass writes to the weights: the loss is then not a function of them; call the model on a batch first if "
    "that initializes them, and leave out what bounds them, as max_norm=None does in an embedding"
)
HALF = {torch.bfloat16, torch.float16}

Weights = dict[str, Tensor]
Part = Tensor | slice | None

LOOKED: weakref.WeakKeyDictionary[nn.Module, tuple[tuple, set[str], set[Place]]] = weakref.WeakKeyDictionary()
"""Models that were looked at, in the modes they had then, and the buffers and attributes that their forward pass moves."""


class Network(Landscape):
    """`L(w) = loss_fn(model_w(x), y)`, the mean over the samples of `data`; `Landscape.of` makes it.

    `loss_fn(outputs, y)` averages over samples, as `torch.nn.functional.cross_entropy` does; `outputs` is whatever the
    model returns. `data` is `(x, y)` or a `Dataset` or `DataLoader` of such pairs. `x` is a tensor, a tuple of several
    inputs or a dict of named ones, `y` a tensor or a tree of tensors, each with the samples first.

    The weights are all parameters of the model, frozen or not, or those of `params` (parameters or their names), flat
    and in the order of `model.parameters()`; `.w0` are the present ones. The model itself, its buffers and plain attributes
    too, is never written to. A model in half precision, where a perturbation is lost in rounding, is measured in float32,
    with `.w0` in it, if it runs in it. Buffers and the parameters outside `params` are those that the model has at the time
    of a call: after more training the present weights go with them, in a new landscape, and `.w0` no longer does.

    Loss, gradient and Hessian product go through the data `chunk` samples at a time and add up, so their memory does
    not grow with n. None takes up to 256 samples at once and of more as many as keep about 2^25 numbers for the
    backward pass (128 MB in float32, four times that in a Hessian product), or all where the loss is not the mean of
    its single losses. `chunk = n` turns it off. Where `w` itself requires a gradient, the graph of all samples is
    needed and one pass is made.

    What a forward pass does is found by running it, twice on two samples. The Hessian product is held once against a
    difference of gradients, on four samples and at a shifted point, in float64 if the model runs in it. Where it fails,
    products are such differences themselves (good to six digits, float64 models and others that run in float64), or
    `ValueError` says so.

    Raises `ValueError` where the sum is no sum over samples or not a function of `w`: a forward pass that draws random
    numbers, moves buffers that change its outputs, or moves buffers and mixes samples (BatchNorm in train mode); for
    data that are none, see `gathered`, or that the model does not take; for `.w0` once the model has trained on and its
    buffers are others; for no weights; if `chunk` is below 1; and on
    the first use of a `chunk` below n, if the loss is not the mean of its single losses.

    >>> head = nn.Linear(2, 1)
    >>> net = Network(nn.Sequential(nn.Linear(3, 2), head), nn.functional.mse_loss,
    ...               (torch.ones(4, 3), torch.zeros(4, 1)), params=head.parameters())
    >>> net.n, net.d, list(net.named(net.w0))
    (4, 3, ['1.weight', '1.bias'])
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[[Any, Any], Tensor],
        data: Any,
        chunk: int | None = None,
        params: Iterable[Tensor | str] | None = None,
    ):
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        self.model, self.loss_fn, self._given = model, loss_fn, chunk
        self.x, self.y = gathered(data)
        self.n = length("y", self.y)
        refuse_nan(self.x, self.y)
        self.parameters = chosen(model, params)
        own = list(self.parameters.values())
        self._shapes, self._types = [p.shape for p in own], [p.dtype for p in own]
        self.w0 = torch.cat([p.detach().reshape(-1) for p in own])
        self.d = self.w0.numel()
        self._shell, self._passed = _Shell(model), passed(model, self.x)
        self._wide: torch.dtype | None = None
        self._moved: set[str] = set()
        self._written: set[Place] = set()
        self._slow: set[str] = set()
        self._held: dict[tuple[str, int], tuple[Any, bool]] = {}
        if not HALF.isdisjoint(self._types):
            self._widen()
        self._look()
        self._stood = self._standing()

    def _widen(self) -> None:
        """Weights, data and loss in float32 in place of a half precision, if the model runs in it."""
        wide = self._widened(None, torch.float32)
        try:
            with torch.no_grad():
                wide._at(wide.w0, *wide.data(slice(0, 2)))
        except Exception as error:  # whatever a model does not like about float32
            if ran_out(error):
                raise
            return
        self.w0, self.x, self.y, self.loss_fn, self._wide = wide.w0, wide.x, wide.y, wide.loss_fn, torch.float32

    def on(self, x: Any, y: Any, loss_fn: Callable[[Any, Any], Tensor] | None = None) -> Network:
        """The same model, not looked at again, with other samples and perhaps another loss."""
        other = copy.copy(self)
        for name in ("splits", "_mean", "_fitting"):
            other.__dict__.pop(name, None)
        if loss_fn is not None:
            other.loss_fn = loss_fn
            other.__dict__.pop("_right", None)
            other.__dict__.pop("_proving", None)
        other.x, other.y = x, y
        other.n = length("y", y)
        other._slow = set(self._slow)
        return other

    # --- the model ---------------------------------------------------------------------------------------------------

    def layers(self) -> dict[str, nn.Module]:
        """All modules of the model, by name."""
        return dict(self.model.named_modules())

    def named(self, w: Tensor) -> Weights:
        """The flat `w`, shape `(d,)`, as views named and shaped as the model's parameters are.

        >>> net = Landscape.of(nn.Linear(2, 1), nn.functional.mse_loss, (torch.ones(1, 2), torch.ones(1, 1)))
        >>> net.named(torch.tensor([1., 2., 3.]))
        {'weight': tensor([[1., 2.]]), 'bias': tensor([3.])}
        """
        parts = w.split([shape.numel() for shape in self._shapes])
        views = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        if self._wide is not None:
            views = [v.to(self._wide) for v in views]
        elif len(set(self._types)) > 1:
            views = [v.to(dtype) for v, dtype in zip(views, self._types, strict=True)]
        return dict(zip(self.parameters, views, strict=True))

    def inside(self, weights: Weights, f: Callable[[], Any]) -> Any:
        """`f()`, with the model's parameters replaced: also for a backward pass that runs layers again."""
        return self._replaced(weights, self._buffers(self._moved), f)

    def _buffers(self, moved: set[str] | None) -> Weights:
        """Clones of the buffers that a pass moves (None: of all), and in another precision all buffers."""
        every = dict(self.model.named_buffers())
        if self._wide is not None:
            return {name: floats(b.clone(), self._wide) for name, b in every.items()}
        return {name: b.clone() for name, b in every.items() if moved is None or name in moved}

    def _replaced(self, weights: Weights, buffers: Weights, f: Callable[[], Any]) -> Any:
        own = weights | buffers
        rest = {n: p.detach() for n, p in self.model.named_parameters() if n not in own}  # outside `params`
        own |= rest if self._wide is None else floats(rest, self._wide)
        tensors = {f"model.{name}": v for name, v in own.items()}
        with lent(self.model, self._written) if self._written else nullcontext():
            if self._wide is None:
                return replaced(self._shell, tensors, (f,))
            unnarrowed = Unnarrowed() if self._wide == torch.float64 else nullcontext()
            with torch.autocast(self.w0.device.type, enabled=False), unnarrowed:
                return replaced(self._shell, tensors, (f,))

    def forward(self, x: Any) -> Any:
        """What the model makes of `x`, by the weights that it has at the time, see `inside`."""
        args, named = self._passed(x)
        return self.model(*args, **named)

    def run(self, weights: Weights, x: Any) -> Any:
        """What the model with these weights makes of `x`."""
        return self.inside(weights, lambda: self.forward(x))

    def outputs(self, w: Tensor, x: Any) -> Any:
        """What the model at `w`, shape `(d,)`, makes of `x`."""
        return self.run(self.named(w), x)

    def data(self, batch: Part) -> tuple[Any, Any]:
        """The samples of `batch`, or all."""
        return rows(self.x, batch), rows(self.y, batch)

    def scalar(self, loss: Any) -> Tensor:
        """The loss itself, if it is one number; else a `ValueError`."""
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss_fn must average to one number, a tensor without dimensions, got {shape}")
        return loss

    def _look(self) -> None:
        form = structure(self.model, self.x)
        known = LOOKED.get(self.model)
        if known is None or known[0] != form:
            self._written = set()  # what a pass keeps is to reach the next one here
            point = self._generic.clone()  # off w0, where a power iteration may have come to rest
            weights, version = self.named(point), point._version
            rest = {name: p.detach().clone() for name, p in self.model.named_parameters() if name not in weights}
            weights |= rest if self._wide is None else floats(rest, self._wide)

            def run(x: Any, buffers: Weights) -> Any:
                return self._replaced(weights, buffers, lambda: self.forward(x))

            try:
                before = [v.clone() for v in weights.values()]
                with lent(self.model) as written:
                    moved = moved_buffers(self.model, run, self.x, self._buffers(None))
                changed = any(not torch.equal(a, b) for a, b in zip(before, weights.values(), strict=True))
                if changed or point._version != version:
                    raise ValueError(WRITES)
            except (RuntimeError, TypeError, IndexError, KeyError, AttributeError, AssertionError) as error:
                if ran_out(error):
                    raise
                raise ValueError(self._unfit(error)) from error
            known = LOOKED[self.model] = form, moved, written
        self._form, self._moved, self._written = known

    def _unfit(self, error: Exception) -> str:
        said = f"the model does not run on these data: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        bytes_ = any(isinstance(t, Tensor) and t.dtype == torch.uint8 for t in tree_leaves(self.x))
        return said + (" (x is uint8: the model wants floats, such as x.float() / 255)" if bytes_ else "")

    def point(self, w: Tensor) -> Tensor:
        """`w`, detached, if it is one point of shape `(d,)`. A model that was put into another mode is looked at again."""
        self._still(w)
        w = super().point(w)
        if structure(self.model, self.x) != self._form:
            self._look()
        self._fits(w)
        return w.to(self.w0.dtype)

    def _standing(self) -> tuple[tuple[str, int, int], ...]:
        """What the model itself lends to every call: which tensors, and how often each has been written to."""
        lent_ones = {n: p for n, p in self.model.named_parameters() if n not in self.parameters}
        lent_ones |= {n: b for n, b in self.model.named_buffers() if n not in self._moved}
        return tuple((n, id(t), 0 if t.is_inference() else t._version) for n, t in lent_ones.items())

    def _still(self, w: Tensor) -> None:
        """`ValueError` for `w0` where the weights of the model, and what goes with them, are others by now."""
        if w is not self.w0 or self._standing() == self._stood:
            return
        own = dict(self.model.named_parameters())
        if not torch.equal(torch.cat([own[name].detach().reshape(-1).to(w) for name in self.parameters]), w):
            stood = set(self._stood)
            name = next((own[0] for own in self._standing() if own not in stood), "a tensor that it had")
            raise ValueError(
                f"the model has trained on since this landscape was made: {name} has changed with the weights, and w0 are "
                "those of before. Make a new landscape of the model as it is"
            )

    def _fits(self, w: Tensor) -> None:
        known = {self.w0.dtype, *self._types} if self._wide is not None else {self.w0.dtype}
        if w.dtype not in known or w.device != self.w0.device:
            raise ValueError(
                f"w is {w.dtype} on {w.device}, and the weights of this network are {self.w0.dtype} on {self.w0.device}"
            )

    def check(self, w: Tensor) -> Tensor:
        """`w` itself, if its last dimension is `d` and its numbers are as the model's; else a `ValueError`."""
        super().check(w)
        self._still(w)
        self._fits(w)
        return w

    # --- the samples, some at a time ---------------------------------------------------------------------------------

    def parts(self, *points: Tensor, batch: Part = None) -> list[Tensor | slice]:
        """`batch`, or all samples, in pieces of about equal size, such that a pass at `points` keeps within memory."""
        count, pieces = self._count(batch), 1
        if not count:
            raise ValueError("the batch holds no samples")
        # Where an outer derivative follows, its graph holds all pieces anyway.
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in points)):
            several = max((p.shape[:-1].numel() for p in points), default=1)
            pieces = -(-count // self._chunk(count, max(several, 1)))
        if batch is None:
            batch = slice(0, self.n)
        if pieces == 1:
            return [batch]
        size = -(-count // pieces)
        if isinstance(batch, Tensor):
            return list(batch.split(size))
        return [slice(i, min(i + size, batch.stop)) for i in range(batch.start, batch.stop, size)]

    def _count(self, batch: Part) -> int:
        if isinstance(batch, slice):
            return batch.stop - batch.start
        return self.n if batch is None else len(batch)

    def _chunk(self, count: int, points: int) -> int:
        if count <= (self._given or SMALL):
            return max(count, 1)
        if self._given is not None:
            self.need_mean()
            return self._given
        return count if self._mean else max(1, self._fitting // points)

    @property
    def coarsest(self) -> torch.dtype:
        """The type of the parameters with the fewest digits."""
        types = [t for t in self._types if t.is_floating_point] if self._wide is None else [self._wide]
        return max(types or [self.w0.dtype], key=lambda t: torch.finfo(t).eps)

    @cached_property
    def _generic(self) -> Tensor:
        # Not w0 itself: a network that begins at zero weights its classes equally whatever the loss.
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(self.d, generator=generator, dtype=torch.float64, device="cpu").to(self.w0)
        return self.w0 + 0.01 * noise

    @cached_property
    def _mean(self) -> str:
        try:
            need_mean(self, self._generic)
        except ValueError as error:
            return str(error)
        return ""

    def need_mean(self) -> None:
        """Raise `ValueError` unless the loss is the mean of the single samples' losses, as found once, by value.

        That fails for a sum instead of a mean, a class-weighted mean, an ignored label, a contrastive or otherwise
        coupling loss, a prediction and a target that broadcast against each other, and a layer that mixes samples.

        >>> data = torch.ones(3, 2), torch.zeros(3, 1)
        >>> net = Landscape.of(nn.Linear(2, 1), nn.MSELoss(reduction="sum"), data)
        >>> net.need_mean()
        Traceback (most recent call last):
            ...
        ValueError: the loss of 3 samples together, ..., is not the mean of their single losses, ...
        """
        if self._mean:
            raise ValueError(self._mean)

    @cached_property
    def splits(self) -> bool:
        """Whether the rows of the model's outputs are those of the samples alone, by value."""
        return splits(self, self._generic)

    @cached_property
    def _fitting(self) -> int:
        """The samples whose forward pass keeps `NUMBERS` numbers, by what that of a single one keeps."""
        kept: dict[int, int] = {}
        point = self.w0.clone().requires_grad_()

        def pack(t: Tensor) -> Tensor:
            place = t.untyped_storage().data_ptr()
            kept[place] = max(kept.get(place, 0), t.numel())
            return t

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = self._at(point, *self.data(slice(0, 1)))
        kept.pop(point.untyped_storage().data_ptr(), None)
        del loss  # until here, or a freed place would be counted for another
        return max(1, NUMBERS // max(1, sum(kept.values())))

    # --- loss and derivatives ----------------------------------------------------------------------------------------

    def _at(self, w: Tensor, x: Any, y: Any) -> Tensor:
        version = w._version
        # The loss in there, too: it may have a term of the model's weights.
        loss = self.inside(self.named(w), lambda: self.scalar(self.loss_fn(self.forward(x), y)))
        if w._version != version:
            raise ValueError(WRITES)
        return loss

    def _summed(self, one: Callable, *points: Tensor, batch: Part) -> Tensor:
        parts = self.parts(*points, batch=batch)
        if len(parts) == 1:
            return one(parts[0])
        return sum(one(part) * (self._count(part) / self._count(batch)) for part in parts)

    def _either(self, what: str, mapped: Callable[[], Tensor], one_by_one: Callable[[], Tensor]) -> Tensor:
        """By torch.func, or by plain loops where the model has something that torch.func cannot take."""
        if what in self._slow:
            return one_by_one()
        try:
            return mapped()
        except Exception as error:
            if ran_out(error):
                raise
            try:
                found = one_by_one()
            except Refused:
                raise
            except Exception as other:
                if ran_out(other):
                    raise
                raise error from None
            self._slow.add(what)
            return found

    def _every(self, f: Callable, *points: Tensor) -> Tensor:
        """`f` at every point of the leading dimensions, in a loop."""
        points = torch.broadcast_tensors(*points)
        lead = points[0].shape[:-1]
        found = [f(*each) for each in zip(*(p.reshape(-1, self.d) for p in points), strict=True)]
        return torch.stack(found).reshape(*lead, *found[0].shape)

    def losses(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """The terms `l_i(w)`: `(..., d) -> (..., b)`, from one forward pass where it gives what samples alone would."""

        def on(part: Part) -> Tensor:
            x, y = self.data(part)

            def terms(v: Tensor) -> Tensor:
                if self.splits:
                    each_alone = lambda: each(lambda a, b: self.scalar(self.loss_fn(a, b)), self.forward(x), y)  # noqa: E731
                    return self.inside(self.named(v), each_alone)
                return each(lambda a, b: self._at(v, a, b), x, y)

            def one_by_one(v: Tensor) -> Tensor:
                index = range(self._count(part))
                return torch.stack([self._at(v, rows(x, slice(i, i + 1)), rows(y, slice(i, i + 1))) for i in index])

            return self._either("losses", lambda: self._mapped(terms, w), lambda: self._every(one_by_one, w))

        self.check(w)
        return torch.cat([on(part) for part in self.parts(w, batch=batch)], -1)

    def loss(self, w: Tensor, batch: Part = None) -> Tensor:
        """`L(w)`: `(..., d) -> (...)`, by one forward pass over a part of the samples, not the mean of single terms."""

        def on(part: Part) -> Tensor:
            x, y = self.data(part)
            if w.ndim == 1:
                return self._at(w, x, y)
            one = lambda v: self._at(v, x, y)  # noqa: E731
            return self._either("loss", lambda: self._mapped(one, w), lambda: self._every(one, w))

        self.check(w)
        return self._summed(on, w, batch=batch)

    def losses_at(self, points: Tensor) -> Tensor:
        """`L` at every row of `points`, `(s, d) -> (s,)`, in float64: one by one, since layers that are mapped over
        weights become batched products and grouped convolutions, which take more memory and on a processor more time.
        """
        with torch.no_grad():
            return torch.stack([self.loss(p) for p in points]).double()

    def grad(self, w: Tensor, batch: Part = None) -> Tensor:
        """Gradient of `L`: `(..., d) -> (..., d)`."""

        def on(part: Part) -> Tensor:
            return self._either(
                "grad",
                lambda: super(Network, self).grad(w, part),
                lambda: self._every(lambda v: self._checked_slope(v, part), w),
            )

        return self._not_cut_off(self._summed(on, self.check(w), batch=batch))

    def _not_cut_off(self, found: Tensor) -> Tensor:
        """A gradient; where it is zero throughout, after a look at whether the loss says so, too."""
        if torch._C._functorch.maybe_current_level() is None and not found.any() and not self._right["gradient"]:
            raise refusal("the gradient")
        return found

    def per_sample_grads(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """Gradients of the single terms: `(..., d) -> (..., b, d)`."""
        index = torch.arange(self.n, device=w.device) if batch is None else batch
        if not len(index):
            raise ValueError("the batch holds no samples")
        single = [i[None] for i in index]
        found = self._either(
            "per_sample_grads",
            lambda: super(Network, self).per_sample_grads(w, batch),
            lambda: self._every(lambda v: torch.stack([self._checked_slope(v, i) for i in single]), self.check(w)),
        )
        return self._not_cut_off(found)

    def slope(self, w: Tensor, part: Part) -> Tensor:
        """The gradient by torch's plain backward pass, which runs within the weights that it is of."""
        x, y = self.data(part)
        with torch.inference_mode(False), torch.enable_grad():
            point = w.detach().clone().requires_grad_()

            def backward() -> Tensor:
                loss = self.scalar(self.loss_fn(self.forward(x), y))
                return torch.autograd.grad(loss, point, materialize_grads=True)[0]

            return self.inside(self.named(point), backward)

    def _checked_slope(self, w: Tensor, part: Part) -> Tensor:
        if not self._right["gradient"]:
            raise refusal("the gradient")
        return self.slope(w, part)

    def hvp(self, w: Tensor, v: Tensor, batch: Part = None) -> Tensor:
        """Hessian-vector product `H(w) v`: `(..., d), (..., d) -> (..., d)`."""
        self.check(w), self.check(v)
        kind = self._kind("mapped", "recorded", "differences")

        def on(part: Part) -> Tensor:
            if kind == "mapped":
                with math_attention():
                    return super(Network, self).hvp(w, v, part)
            return self._every(lambda a, b: self.product_by(kind, a, part)(b), w, v)

        return self._summed(on, w, v, batch=batch)

    def hessian_product(self, w: Tensor) -> Callable[[Tensor], Tensor]:
        """`v -> H(w) v`, a backward pass each through a gradient recorded once, where the data fit into one pass."""
        self.check(w)
        if len(self.parts(w.detach())) > 1:
            return lambda v: self.hvp(w, v)
        kind = self._kind("recorded", "mapped", "differences")
        return (lambda v: self.hvp(w, v)) if kind == "mapped" else self.product_by(kind, w, None)

    def product_by(self, kind: str, w: Tensor, part: Part) -> Callable[[Tensor], Tensor]:
        """`v -> H(w) v` on `part`: by a gradient recorded once (`"recorded"`) or in float64 by `"differences"`."""
        if kind == "differences":
            wide = self._widened(part)
            return lambda v: wide.hvp_by_differences(w.double(), v.double()).to(v.dtype)
        x, y = self.data(part)
        with torch.inference_mode(False), math_attention():
            point = w.detach().clone().requires_grad_()
            weights = self.named(point)

            def forward_and_back() -> Tensor:
                loss = self.scalar(self.loss_fn(self.forward(x), y))
                return torch.autograd.grad(loss, point, create_graph=True, materialize_grads=True)[0]

            with torch.enable_grad():
                gradient = self.inside(weights, forward_and_back)

        def product(v: Tensor) -> Tensor:
            return torch.autograd.grad(gradient, point, v, retain_graph=True, materialize_grads=True)[0]

        if not gradient.requires_grad:  # a loss linear in w
            return torch.zeros_like
        return lambda v: self.inside(weights, lambda: product(v))

    def hvp_by_differences(self, w: Tensor, v: Tensor) -> Tensor:
        """`H(w) v` from gradients at points along `v`, where autograd has no second derivative."""
        size = v.square().mean().sqrt().clamp_min(torch.finfo(v.dtype).tiny)
        step = STEP * (w.square().mean().sqrt() + 1e-3)
        along = differences(lambda at: [self.slope(at[0], None)], [w], [v / size], float(step))
        return along[0] * size

    # --- what is proved ----------------------------------------------------------------------------------------------

    def _widened(self, part: Part, dtype: torch.dtype = torch.float64) -> Network:
        """The network in another precision, on the samples `part`."""
        wide = self.on(*(floats(t, dtype) for t in self.data(part)))
        wide.w0, wide._wide = self.w0.to(dtype), dtype
        wide.loss_fn = widened(self.loss_fn, dtype)
        return wide

    @cached_property
    def _proving(self) -> Network:
        """The network on a few samples, in float64 if it runs in it."""
        few = torch.linspace(0, self.n - 1, min(self.n, PROBED), device="cpu").long()
        wide = self._widened(few)
        try:
            with torch.no_grad():
                wide._at(wide.w0, wide.x, wide.y)
        except Exception as error:  # whatever a model does not like about float64
            if ran_out(error):
                raise
            return self.on(*self.data(few))
        return wide

    @cached_property
    def _right(self) -> Proofs:
        return Proofs(self._proving)

    @property
    def proving(self) -> tuple[Network, Tensor]:
        """The network on a few samples, in float64 if it runs in it, and a point off `w0`: where shortcuts are proved."""
        return self._proving, self._right.point

    def holds(self, what: str, test: Callable[[], bool]) -> bool:
        """Whether a shortcut is right for this model and loss, by a `test` that runs once; False where it fails to run."""
        key = what, id(self.loss_fn)
        if key not in self._held:
            try:
                right = test()
            except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError) as error:  # a model's own, too
                if ran_out(error):
                    raise
                right = False
            self._held[key] = self.loss_fn, right  # the loss is kept, or another could come to its place in memory
        return self._held[key][1]

    def _kind(self, *kinds: str) -> str:
        """The first of these ways to a Hessian product that is right for this model."""
        if torch._C._functorch.maybe_current_level() is not None:  # in a transform of torch.func no proof can run
            return next(kind for kind in ("mapped", *kinds) if self._right.get(kind, True))
        for kind in kinds:
            if self._right[kind]:
                return kind
        raise refusal("the Hessian product" if self._right["gradient"] else "the gradient")


class _Shell(nn.Module):
    """A module around the model, in whose forward pass anything can run with the model's parameters replaced."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, f: Callable[[], Any]) -> Any:
        return f()
