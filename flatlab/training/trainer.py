"""One network in training: every method sees the same batches, schedule and evaluation, and a resumed run the same bits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from flatlab import models
from flatlab.landscape import Landscape, Network
from flatlab.models.fast_cifar import FastCifar
from flatlab.optim import RuleOptimizer
from flatlab.penalties import gradient_noise_penalty, hessian_frobenius_penalty
from flatlab.training import own
from flatlab.training.arithmetic import autocast, layout
from flatlab.training.batches import Batches, epoch_seed
from flatlab.training.captured import Captured
from flatlab.training.denormals import flushed
from flatlab.training.examples import Examples
from flatlab.training.methods import UNCAPTURED, base_optimizer, options_of, wrap
from flatlab.training.tree import join, like, part

if TYPE_CHECKING:
    from flatlab.training.train import Train

__all__ = ["Trainer"]

EVALUATED_AT_ONCE = 500
WHITENED = 5000
"""Training images whose patches a network is whitened by, as many as in its source."""
HERE = ("lr", "foreach", "fused", "capturable")
"""Of an optimizer's groups, how its steps run on this device; a graph reads the rate from the very tensor in them."""
LOOK = 50
"""Steps between two looks at the losses on a GPU, each of which waits for it; on a CPU every step is looked at."""


class Trainer:
    """A network, its optimizer and its place in the schedule, made from settings and examples."""

    def __init__(self, setting: Train, source: Examples, device: torch.device, graph: bool = False):
        if graph and not setting.replays:
            draws = " and ".join((*UNCAPTURED, "fa"))
            raise ValueError(
                f"graph: neither the draws of {draws} nor fp16's scale can be replayed, nor steps of the two kinds that "
                "perturb_every makes; run without it"
            )
        self.setting, self.source, self.device, self.scale = setting, source, device, source.scale.to(device)
        torch.manual_seed(setting.seed)
        shape = tuple(source.train[0].shape[1:])
        if own.is_own(setting.network):
            model = own.network(setting.network, shape, source.classes, source.scale(source.train[0][:2]))
        else:
            model = models.build(setting.network, shape, source.classes, width=setting.width)
        if isinstance(model, FastCifar):
            model.whiten(source.scale(source.train[0][:WHITENED]))
        self.layout = layout(device, setting.precision)
        flat = all(p.ndim != 5 for p in model.parameters())  # torch lays out no volumes so
        self.model = model.to(device, memory_format=self.layout) if flat else model.to(device)
        lr = torch.tensor(setting.lr, device=device) if graph else setting.lr
        base = base_optimizer(self.model, setting.base, lr, setting.momentum, setting.nesterov, setting.weight_decay)
        options = {k: getattr(setting, k) for k in options_of(setting.method)}
        self.opt = wrap(base, setting.method, options, setting.seed, setting.perturb_every)
        self.train, self.held = (tuple(t.to(device) for t in pair) for pair in (source.train, source.held))
        how = {"size": setting.batch, "seed": setting.seed, "scale": self.scale, "augment": setting.augment}
        self.batches = Batches(*self.train, **how, layout=self.layout)
        self.scaler = torch.amp.GradScaler(device.type) if setting.precision == "fp16" else None
        self.epoch, self.step, self.samples = 0, 0, 0
        self.curves: list[dict[str, float]] = []
        self.losses = torch.zeros(len(self.batches), device=device)
        self.curvature = torch.zeros(2, device=device)
        """Sum and number of the epoch's estimates of tr(H^2), where the FA penalty takes them."""
        self.right = torch.zeros((), dtype=torch.int64, device=device)
        self._samples_a_step = 0
        self._step = Captured(self._one_step, self._count) if graph else self._one_step

    @property
    def gradients(self) -> float:
        """Gradient evaluations so far, in minibatches: a micro-batch counts by its share."""
        return self.samples / self.setting.batch

    @property
    def finished(self) -> bool:
        """Whether all epochs have passed, or the loss has fallen to where the settings end the run."""
        enough = self.setting.stop_at_loss
        reached = enough is not None and self.curves and self.curves[-1]["train_loss"] <= enough
        return self.epoch >= self.setting.epochs or bool(reached)

    def rate(self) -> float:
        """The learning rate of step t of all T, from 0: constant, `lr (1 + cos(pi t / T)) / 2`, or the triangle
        `lr min(1, (t + 1) / (p T), (T - t) / ((1 - p) T))`, whose peak p is a setting.
        """
        s, steps = self.setting, len(self.batches)
        done, all_steps = self.epoch * steps + self.step, self.setting.epochs * steps
        if s.schedule == "cosine":
            return s.lr * 0.5 * (1 + math.cos(math.pi * done / all_steps))
        if s.schedule == "triangle":
            return s.lr * min(1, (done + 1) / (s.peak * all_steps), (all_steps - done) / ((1 - s.peak) * all_steps))
        return s.lr

    def advance(self) -> Iterator[None]:
        """Go on to the end of the epoch and evaluate; yields whenever all is at rest, so that `state` is whole.

        Raises `FloatingPointError`, naming epoch, step, method and rates, once a loss is not finite.
        """
        if self.step == 0:
            torch.manual_seed(epoch_seed(self.setting.seed, self.epoch))
            self.right.zero_()
            self.curvature.zero_()
        self.batches.begin(self.epoch)
        self.model.train()
        look, seen = LOOK if self.device.type == "cuda" else 1, self.step
        while self.step < len(self.batches):
            for group in self.opt.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(self.rate())
                else:
                    group["lr"] = self.rate()
            with flushed():
                self.losses[self.step] = self._step(*self.batches[self.step])
            self.step += 1
            if self.step - seen >= look or self.step == len(self.batches):
                self._check(seen)
                seen = self.step
                if self.step < len(self.batches):
                    yield
        with flushed():
            self._end_epoch()
        yield

    def _one_step(self, x: Tensor, y: Tensor) -> Tensor:
        scaling = {} if self.scaler is None else {"scaler": self.scaler}
        before = self.samples

        def closure(x: Tensor, y: Tensor) -> Tensor:
            self.opt.zero_grad()
            with autocast(self.device, self.setting.precision):
                outputs = self.model(x)
                loss = self._loss(outputs, y)
            self.samples += len(y)
            first = not isinstance(self.opt, RuleOptimizer) or self.opt.first_pass
            if first:
                self.right += (outputs.detach().argmax(1) == y).sum()
            total = loss + self._penalties(x, y, first and len(y) == self.setting.batch)
            (total if self.scaler is None else self.scaler.scale(total)).backward()
            return loss

        if isinstance(self.opt, RuleOptimizer):
            loss = self.opt.step(closure, x, y, **scaling)
        else:
            loss = closure(x, y)
            if self.scaler is None:
                self.opt.step()
            else:
                self.scaler.step(self.opt)
        if self.scaler is not None:
            self.scaler.update()
        self._samples_a_step = self.samples - before
        return loss.detach()

    def _count(self) -> None:
        self.samples += self._samples_a_step

    def _loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        outputs = outputs if outputs.dtype == torch.float64 else outputs.float()  # a proof of curvature runs in float64
        return cross_entropy(outputs, y, label_smoothing=self.setting.label_smoothing)

    def _penalties(self, x: Tensor, y: Tensor, measured: bool) -> Tensor | float:
        s, total = self.setting, 0.0
        if s.fa is not None:
            step = self.epoch * len(self.batches) + self.step
            how = {"probes": s.probes, "step": step, "every": s.penalty_every}
            # Probes of their own generator: dropout then draws the same masks with the penalty and without.
            how["generator"] = torch.Generator(self.device).manual_seed(epoch_seed(s.seed, step))
            penalty = hessian_frobenius_penalty(self.model, self._loss, (x, y), **how)
            total = s.fa * penalty
            if measured and step % s.penalty_every == 0:  # not where the method has climbed to, nor on a part of the batch
                self.curvature += torch.stack([penalty.detach() * len(x), self.curvature.new_ones(())])
        if s.cov is not None:
            how = {"batch_size": s.batch, "population": len(self.train[1])}
            total = total + s.cov * gradient_noise_penalty(self.model, self._loss, (x, y), **how)
        return total

    def _check(self, since: int) -> None:
        finite = torch.isfinite(self.losses[since : self.step])
        if not finite.all():
            step = since + int((~finite).nonzero()[0]) + 1
            raise self._diverged(f"the loss is no longer finite at step {step} of epoch {self.epoch + 1}")

    def _diverged(self, what: str) -> FloatingPointError:
        s = self.setting
        named = ", ".join(f"{k} {getattr(s, k):g}" for k in ("rho", "lr") if getattr(s, k) is not None)
        return FloatingPointError(f"{what} with {s.method}, {named}")

    def _end_epoch(self) -> None:
        rate, steps = self.rate(), len(self.batches)
        self.model.eval()
        loss, accuracy = self.evaluate(*self.held)
        scores = {
            "epoch": self.epoch + 1,
            "lr": rate,
            "train_loss": float(self.losses.double().mean()),
            "train_accuracy": float(self.right) / (steps * self.setting.batch),
            "loss": loss,
            "accuracy": accuracy,
        }
        if self.setting.fa is not None:
            total, count = self.curvature.tolist()
            scores["hessian_frobenius"] = total / count if count else None
        if self.setting.evaluate_train:
            scores["whole_train_loss"], scores["whole_train_accuracy"] = self.evaluate(*self.train)
        if not all(math.isfinite(value) for value in scores.values() if value is not None):  # by the epoch's last step
            raise self._diverged(f"the loss on {self.source.evaluated_on} examples is {loss} after epoch {self.epoch + 1}")
        self.curves.append(scores)
        self.epoch, self.step = self.epoch + 1, 0

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """Mean cross-entropy (without smoothing) and share of right answers over all of `x`, in evaluation mode."""
        training = self.model.training
        self.model.eval()
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        right = torch.zeros((), dtype=torch.int64, device=self.device)
        for a, b in zip(x.split(EVALUATED_AT_ONCE), y.split(EVALUATED_AT_ONCE), strict=True):
            a = self.scale(a)
            with autocast(self.device, self.setting.precision):
                outputs = self.model(a.contiguous(memory_format=self.layout) if a.ndim == 4 else a).float()
            loss += cross_entropy(outputs, b, reduction="sum")
            right += (outputs.argmax(1) == b).sum()
        self.model.train(training)
        return float(loss) / len(y), float(right) / len(y)

    def landscape(self, examples: int | None = None) -> Network:
        """The mean cross-entropy of the first training examples, all unless given, as a landscape; `w0` is the network.

        It is evaluated as in use: with the running averages of BatchNorm, and without dropout.
        """
        x, y = (t[:examples] for t in self.train)
        return Landscape.of(self.model.eval(), cross_entropy, (self.scale(x), y))

    def weights(self) -> Tensor:
        """All parameters as one vector, `(d,)`."""
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])

    def checksum(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over parameters and buffers, to the bit."""
        digest = hashlib.sha256()
        for t in filter(torch.is_tensor, self.model.state_dict().values()):  # a module may keep other things there
            digest.update(t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:12]

    def news(self) -> dict[str, Any]:
        """Where the run stands: epoch (from 1), step, the loss of late, and the latest scores."""
        ended = self.step == 0 and self.epoch > 0
        at, steps = (self.epoch, len(self.batches)) if ended else (self.epoch + 1, self.step)
        last = len(self.losses) if ended else self.step
        news = {"epoch": at, "epochs": self.setting.epochs, "step": steps, "steps": len(self.batches)}
        news |= {"loss": float(self.losses[max(0, last - LOOK) : last].mean()), "lr": self.rate()}
        news["gradients"] = self.gradients
        if self.curves:
            news["accuracy"] = self.curves[-1]["accuracy"]
        return news | {"batch": self.setting.batch, "evaluated_on": self.source.evaluated_on, "curves": self.curves}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the rest of the run depends on: tensors by name, and the rest as JSON."""
        parts = {"model": self.model.state_dict(), "optimizer": self.opt.state_dict()}
        if self.scaler is not None:
            parts["scaler"] = self.scaler.state_dict()
        tensors, rest = part(parts, "")
        tensors |= {"losses": self.losses, "right": self.right, "curvature": self.curvature}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        names = ("epoch", "step", "samples", "curves")
        return tensors, {"parts": rest, "data": self.source.checksum} | {name: getattr(self, name) for name in names}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        if state.get("data", self.source.checksum) != self.source.checksum:
            raise ValueError("its data have another checksum")
        parts = join(tensors, state["parts"])
        self.model.load_state_dict(parts["model"])
        here = [{k: group[k] for k in HERE if k in group} for group in self.opt.param_groups]
        self.opt.load_state_dict(parts["optimizer"])
        for group, own_way in zip(self.opt.param_groups, here, strict=True):
            group |= own_way
        for p, memory in self.opt.state.items():
            memory |= {k: like(p, v) if isinstance(v, Tensor) else v for k, v in memory.items()}
        if self.scaler is not None:
            self.scaler.load_state_dict(parts["scaler"])
        self.losses.copy_(tensors["losses"])
        self.right.copy_(tensors["right"])
        self.curvature.copy_(tensors["curvature"])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        for name in ("epoch", "step", "samples", "curves"):
            setattr(self, name, state[name])
