"""Optimizers: a rule of `flatlab.rules`, run on a network around any `torch.optim.Optimizer`.

    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.05)

    def closure():
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        return loss

    loss = opt.step(closure)            # the loss at the weights before the step

The rule turns gradients into a direction, the base optimizer turns the direction into a step: momentum, weight
decay and Adam's scaling act on the direction as they would on a gradient. The closure runs once for every gradient
that the rule asks for (twice in most methods, three times in CSAM, k times in LSAM), each time on the same batch, and
computes all of it.

**Accumulation.** Each pass runs at weights of its own, so gradients that a loop has accumulated before the step are of no
use to it: they are cleared, and a warning says so once. The closure accumulates instead, over parts of one size:

    def closure():
        opt.zero_grad()
        total = 0.0
        for x, y in parts:
            loss = loss_fn(model(x), y) / len(parts)
            loss.backward()
            total += loss.detach()
        return total

That is the step on the whole batch, in the memory of a part: up to rounding, and but for BatchNorm, which normalizes each
part by itself. Under Lightning leave `accumulate_grad_batches` at 1 and cut the batch in a `training_step` with
`automatic_optimization = False`; with accelerate leave `gradient_accumulation_steps` at 1, for on all other steps it never
calls the optimizer. In `DistributedDataParallel` all parts but the last run in `ddp.no_sync()`.

**A loop without a closure** takes a step in two halves, where a method wants two gradients, the first at the weights (SAM,
USAM, ASAM, StableSAM, StableASAM):

    opt.zero_grad()
    loss_fn(model(x), y).backward()
    opt.first_step()
    loss_fn(model(x), y).backward()
    opt.second_step()

The bits are those of `step(closure)`, also of the statistics of norm layers; dropout draws a mask in each pass. With a
`GradScaler` both losses are scaled, `opt.first_step(scaler=scaler)` takes it, and `scaler.update()` follows `second_step`:
an overflow in either pass skips the step. `opt.undo_first_step()` gives the weights back where the loop gives up.

**Not in every step.** `SAM(base, every=5)` perturbs in the first step and in every fifth after it. Those between are steps
of the base optimizer alone, of one pass. The count is saved.

**Parts of the batch.** MSAM and SAMGCM cut the batch and run the closure on its parts, so it takes the data:

    def closure(x, y):
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        return loss

    loss = opt.step(closure, x, y)

The other methods take the data, too, and run the closure on all of it. For a small network without BatchNorm and
dropout in train mode a landscape in place of the closure is faster, since all parts then run in one batched pass:
`opt.step(Landscape.of(model, loss_fn, (x, y)))`.

**One optimizer, not two.** `param_groups`, `state` and `defaults` are the base optimizer's own (`opt.base`), so
schedules, checkpoints and parameter groups work as they do there. `rho` is a group option beside `lr`: it can be
scheduled, may be a tensor, and is saved. It can differ between groups: each weight then moves by its own group's
`rho` along one ascent direction, whose norm is one over all groups together. What a method remembers (CSAM's moving
average, seed and number of LSAM's draws) is saved as well, also by `torch.distributed.checkpoint`. A checkpoint of the bare
base optimizer loads, too, and takes `rho` from here.

**Some groups only.** A group with `rho=0` stands still in the ascent and has no part in its norm, so the others climb as if
they were alone. Norm layers only (SAM-ON):

    norms = [p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    others = [p for p in model.parameters() if all(p is not q for q in norms)]
    opt = SAM(SGD([{"params": norms}, {"params": others, "rho": 0.0}], lr=0.1), rho=0.5)

In CSAM `rho_cov` is zero there, too.

**A method of your own** is a subclass of `flatlab.methods.Method` that names a rule and its options, and its optimizer
a subclass of `RuleOptimizer` that names the method.

**What a pass leaves behind.** Whatever a forward pass moves, moves in the first pass only, and later passes start where
that one did: statistics of norm layers, the vectors of spectral norm, codebooks, observers, any buffer of a module; a
parameter that is not trained here (a momentum encoder); and what a module of yours keeps in plain attributes, be it a
tensor, a number, or a list, dict or set. The modules are those that the trained parameters belong to, and those that the
closure calls. What they hold is looked at once, by value, and again when a module changes its mode; buffers are watched
in every step, the rest in the first three and in every 16th. (Frozen parameters that are more than those trained are
watched by torch's counter of writes alone.) Dropout draws the same mask in every pass, on the CPU and on CUDA (on any other
device each pass draws its own); afterwards torch's default
generators, Python's `random` and NumPy's stand where one plain pass leaves them, and so do generators of your own that the
closure refers to, or an object or module there. (Whether it draws from those beside torch's default ones is looked at in
the first three steps and in every 16th.) Modules
that are called through a compiled *function*, and hold no trained parameter, cannot be seen: compile the module instead.
Where a model is compiled torch warns, once, of a global hook: it is ours and only looks.

**Forward passes that write to the weights** (`nn.Embedding(max_norm=...)`, a max-norm constraint, an initialization by
data) do so in the first pass, as without a method, and it stays; what they write at perturbed weights goes with these.
LSAM, which runs no pass at the weights themselves, refuses such a model where it sees it. (It and the methods that cut the
batch look in the first three steps and in every 16th.)

**Caches of weights.** An autocast around the step, and `torch.nn.utils.parametrize.cached()`, keep what they have made of
the weights; both are cleared whenever a pass writes them. What a compiler has folded into constants stays: freeze nothing.

**Threads** may each train their own model. Torch's default generator is one for all of them.

**A step that fails** leaves weights, buffers and optimizer state as they were. A loss, gradient or direction that is not
finite raises `FloatingPointError`; to find out costs one synchronization with the device, which `check_finite=False`
saves. While a CUDA graph is captured there is no such check, and dropout is refused, since its mask cannot be drawn twice
there.

**Maximizing.** In a group with `maximize` the method climbs to where the objective is smallest, and descends from there:
it is the method on the negative of the objective.

**Mixed precision.** Let the closure call `scaler.scale(loss).backward()` and return the loss itself, then

    opt.step(closure, scaler=scaler)
    scaler.update()

A gradient that overflows, in any pass, skips the step and lowers the scale.

**Clipping** is for a hook on the base optimizer, which finds the finished, unscaled direction in `.grad`:

    @opt.base.register_step_pre_hook
    def clip(*_):
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)

**Several workers.** Under `DistributedDataParallel` every gradient is averaged, so all workers ascend along the
gradient of the joint batch. `no_sync=ddp.no_sync` lets each ascend along its own (m-sharpness) and averages the last
gradient only, in MSAM that of each micro-batch; SAMGCM cannot do without it. Sharded parameters (FSDP, FSDP2's
`fully_shard`, tensor parallelism) are refused at construction: their norm needs all workers.
"""

from typing import TYPE_CHECKING

from flatlab.methods import METHODS
from flatlab.optim.engine import RuleOptimizer

_OPTIMIZERS = {
    name: type(name, (RuleOptimizer,), {"method": method, "__module__": __name__}) for name, method in METHODS.items()
}
globals().update(_OPTIMIZERS)
if TYPE_CHECKING:  # what a checker cannot see

    def __getattr__(name: str) -> type[RuleOptimizer]: ...


__all__ = sorted(_OPTIMIZERS)
