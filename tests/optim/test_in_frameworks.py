"""Inside of other people's training loops: every weight and every logged loss is that of a plain loop."""

import re
import warnings
from pathlib import Path

import pytest
import torch
from methods_under_test import WHOLE, each
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from flatlab.optim import ASAM, CSAM, LSAM, SAM, USAM, StableSAM

pytestmark = pytest.mark.filterwarnings("error:.*accumulate, give it a closure")

PAGE = Path(__file__).parents[2] / "book" / "frameworks.md"
EPOCHS, CLIP = 2, 0.3
every_method = each(WHOLE, quick=[CSAM])  # it remembers


def shown(name, **known):
    """What the page's cell that defines `name` defines."""
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    (cell,) = [c for c in cells if re.search(rf"^(class|def) {name}\b", c, re.M)]
    exec(cell, known)
    return known[name]


clipped = shown("clipped", nn=nn)


def network(norm=nn.BatchNorm1d):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), norm(8), nn.ReLU(), nn.Linear(8, 3))


def data(n=64):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 6, generator=g), torch.randint(0, 3, (n,), generator=g)


def batches(size=16):
    return DataLoader(TensorDataset(*data()), batch_size=size)


def made(method, params, max_norm=None, lr=0.1, rho=0.2):
    opt = method(SGD(params, lr=lr, momentum=0.9), rho=rho)
    return opt if max_norm is None else clipped(opt, max_norm)


def summed(model, x, y, parts, backward):
    """The loss of a batch, as the sum over its equal parts, each with its gradient."""
    total = 0
    for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
        loss = cross_entropy(model(a), b) / parts
        backward(loss)
        total += loss.detach()
    return total


def plain(method, parts=1, max_norm=None, only_last_of=None, dtype=None):
    """Network and losses of the loop that the frameworks have to reproduce."""
    model, losses = network(), []
    opt = made(method, model.parameters(), max_norm)
    for _ in range(EPOCHS):
        for x, y in batches():

            def closure(x=x, y=y):
                opt.zero_grad()
                if only_last_of is not None:
                    loss = cross_entropy(model(x.chunk(only_last_of)[-1]), y.chunk(only_last_of)[-1]) / only_last_of
                    loss.backward()
                    return loss
                with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                    return summed(model, x, y, parts, torch.Tensor.backward)

            losses.append(opt.step(closure).item())
    return model, losses


def assert_same(model, other):
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def largest_difference(model, other):
    return max((a - b).abs().max().item() for a, b in zip(model.parameters(), other.parameters(), strict=True))


def assert_clips_each_pass(trained_and_clipped):
    """That is clipping the direction for the methods that ask a first gradient for no more than where it points."""
    assert largest_difference(plain(SAM, max_norm=CLIP)[0], plain(SAM)[0]) > 1e-3, "it clips"
    for method, alike in ((SAM, True), (StableSAM, True), (USAM, False), (CSAM, False)):
        difference = largest_difference(trained_and_clipped(method), plain(method, max_norm=CLIP)[0])
        assert difference < 1e-6 if alike else difference > 1e-3, method.__name__


# PyTorch Lightning


@pytest.fixture
def pl(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return pytest.importorskip("pytorch_lightning")


def fit(pl, module, loader, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", **quiet, **options)
    trainer.fit(module, loader)
    return trainer


def lightning_module(pl, method, max_norm=None, parts=None, every=None):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()
            self.automatic_optimization = parts is None
            self.first = []

        def training_step(self, batch, _):
            opt, (x, y) = self.optimizers(), batch
            if parts is not None:

                def closure():
                    opt.zero_grad()
                    return summed(self.network, x, y, parts, self.manual_backward)

                self.first.append(opt.step(closure).item())
                return None
            loss = cross_entropy(self.network(x), y)
            if every is not None:  # outside of the module, whose own lists the first passes alone add to
                every.append(loss.item())
            if opt.first_pass:
                self.first.append(loss.item())
                self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return made(method, self.parameters(), max_norm)

    return Module()


@every_method
def test_lightning_trains_and_logs_as_a_plain_loop(pl, method):
    reference, losses = plain(method)
    every = []
    module = lightning_module(pl, method, every=every)
    trainer = fit(pl, module, batches())
    assert_same(module.network, reference)
    assert trainer.callback_metrics["loss"].item() == module.first[-1]
    if method.__name__ != "LSAM":  # it runs at none of the weights before the step: the loss is a mean over its draws
        assert module.first == losses
    assert len(every) > len(losses), "a plain log would have kept another"


@pytest.mark.slow
def test_lightning_trains_in_bfloat16_as_a_plain_loop_under_autocast(pl):
    module = lightning_module(pl, SAM)
    fit(pl, module, batches(), precision="bf16-mixed")
    reference, _ = plain(SAM, dtype=torch.bfloat16)
    assert_same(module.network, reference)
    assert largest_difference(reference, plain(SAM)[0]) > 0


def test_lightnings_scaler_steps_without_the_closure_and_is_refused(pl):
    plugin = pl.plugins.precision.MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(TypeError, match="SAM.step needs a closure"):
        fit(pl, lightning_module(pl, SAM), batches(), plugins=[plugin])


@pytest.mark.slow
def test_lightnings_own_accumulation_hands_over_the_last_part_alone(pl):
    module = lightning_module(pl, SAM)
    with pytest.warns(UserWarning, match="SAM: gradients that stand there before the step do not count"):
        fit(pl, module, batches(4), accumulate_grad_batches=4)
    assert largest_difference(module.network, plain(SAM, only_last_of=4)[0]) == 0  # statistics have seen all parts
    assert largest_difference(module.network, plain(SAM, parts=4)[0]) > 1e-3


@pytest.mark.slow
@every_method
def test_lightning_accumulates_in_the_closure_and_clips_in_the_hook(pl, method):
    module = lightning_module(pl, method, max_norm=CLIP, parts=4)
    fit(pl, module, batches())
    reference, losses = plain(method, parts=4, max_norm=CLIP)
    assert_same(module.network, reference)
    assert module.first == losses


@pytest.mark.slow
def test_lightnings_clipping_acts_in_every_pass(pl):
    def by_lightning(method):
        module = lightning_module(pl, method)
        fit(pl, module, batches(), gradient_clip_val=CLIP)
        return module.network

    assert_clips_each_pass(by_lightning)


# skorch


def skorch_net(method, max_norm=None, **options):
    skorch = pytest.importorskip("skorch")
    net = skorch.NeuralNetClassifier(
        network,
        criterion=nn.CrossEntropyLoss,
        optimizer=lambda params, **kw: made(method, params, max_norm, **kw),
        lr=0.1,
        max_epochs=EPOCHS,
        batch_size=16,
        train_split=None,
        verbose=0,
        **options,
    )
    return net.fit(*data())


@every_method
@pytest.mark.parametrize("max_norm", [None, pytest.param(CLIP, marks=pytest.mark.slow)])
def test_skorch_trains_and_remembers_as_a_plain_loop(method, max_norm):
    reference, losses = plain(method, max_norm=max_norm)
    net = skorch_net(method, max_norm)
    assert_same(net.module_, reference)
    if method.__name__ != "LSAM":
        assert [b["train_loss"] for epoch in net.history for b in epoch["batches"]] == losses


def test_skorch_sets_rho_as_any_other_argument_of_the_optimizer():
    assert skorch_net(SAM, optimizer__rho=0.7).optimizer_.param_groups[0]["rho"] == 0.7


@pytest.mark.slow
def test_skorchs_clipping_acts_in_every_pass():
    callbacks = pytest.importorskip("skorch.callbacks")
    assert_clips_each_pass(lambda method: skorch_net(method, callbacks=[callbacks.GradientNormClipping(CLIP)]).module_)


# Accelerate


@pytest.fixture
def accelerator():
    accelerate = pytest.importorskip("accelerate")
    yield lambda **options: accelerate.Accelerator(cpu=True, **options)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def accelerated(accelerator, method, loader, parts=1, max_norm=None, take=None):
    """Trained network and its losses; `take(inner, closure)` makes the step in place of the prepared optimizer."""
    net, losses = network(), []
    inner = made(method, net.parameters(), max_norm)
    model, opt, prepared = accelerator.prepare(net, inner, loader)
    for _ in range(EPOCHS):
        for x, y in prepared:

            def closure(x=x, y=y):
                opt.zero_grad()
                loss = summed(model, x, y, parts, accelerator.backward)
                if inner.first_pass:
                    losses.append(loss.item())
                return loss

            with accelerator.accumulate(model):
                take(inner, closure) if take else opt.step(closure)
    return net, losses


@every_method
@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_accelerate_trains_as_a_plain_loop_also_in_parts_and_clipped(accelerator, method, parts):
    reference, losses = plain(method, parts, max_norm=CLIP)
    net, kept = accelerated(accelerator(), method, batches(), parts, max_norm=CLIP)
    assert_same(net, reference)
    if method.__name__ != "LSAM":
        assert kept == losses


@pytest.mark.slow
def test_accelerates_own_accumulation_hands_over_the_last_part_alone(accelerator):
    last, whole = plain(SAM, only_last_of=4)[0], plain(SAM, parts=4)[0]
    with pytest.warns(UserWarning, match="accelerate's gradient_accumulation_steps=4 leaves"):
        net, _ = accelerated(accelerator(gradient_accumulation_steps=4), SAM, batches(4))
    assert_same(net, last)
    assert largest_difference(net, whole) > 1e-3


def test_a_loop_of_its_own_beside_such_an_accelerator_is_not_warned(accelerator):
    accelerator(gradient_accumulation_steps=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain(SAM)


def test_with_accelerates_scaler_the_step_is_ours(accelerator):
    """An Accelerator has a scaler on a GPU only; here it gets one, and uses it in `backward` and `prepare` all the same."""
    scaled = accelerator()
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with pytest.raises(AssertionError, match="Attempted step but _scale is None"):  # it would step before the closure
        accelerated(scaled, SAM, batches())

    def step(inner, closure):
        inner.step(closure, scaler=scaled.scaler)
        scaled.scaler.update()

    net, losses = accelerated(scaled, SAM, batches(), max_norm=CLIP, take=step)
    reference, expected = plain(SAM, max_norm=CLIP)
    assert largest_difference(net, reference) < 1e-6
    assert losses == pytest.approx(expected, rel=1e-6)


# The Trainer of Transformers


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()

    def forward(self, x, labels):
        logits = self.network(x)
        return {"loss": cross_entropy(logits, labels), "logits": logits}


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers")


def arguments(transformers, folder, **options):
    usual = {"num_train_epochs": EPOCHS, "per_device_train_batch_size": 16, "train_sampling_strategy": "sequential"}
    usual |= {"lr_scheduler_type": "constant", "max_grad_norm": 0, "logging_steps": 1, "save_strategy": "no"}
    quiet = {"report_to": "none", "use_cpu": True, "disable_tqdm": True}
    return transformers.TrainingArguments(str(folder), **usual | quiet | options)


def in_trainer(transformers, folder, method, max_norm=None, resume=None, **options):
    trainer_class = shown("SharpnessAware", torch=torch)
    model = Classifier()
    trainer = trainer_class(
        made(method, model.parameters(), max_norm),
        model=model,
        args=arguments(transformers, folder, **options),
        train_dataset=[{"x": x, "labels": y} for x, y in zip(*data(), strict=True)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return model.network, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_the_trainer_as_it_is_steps_without_a_closure_and_is_refused(transformers, tmp_path):
    model = Classifier()
    trainer = transformers.Trainer(
        model,
        arguments(transformers, tmp_path),
        train_dataset=[{"x": x, "labels": y} for x, y in zip(*data(), strict=True)],
        optimizers=(made(SAM, model.parameters()), None),
    )
    with pytest.raises(TypeError, match="SAM.step needs a closure"):
        trainer.train()


@every_method
@pytest.mark.parametrize("parts", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_the_pages_trainer_trains_and_logs_as_a_plain_loop_also_in_parts_and_clipped(transformers, tmp_path, method, parts):
    size = {"per_device_train_batch_size": 16 // parts, "gradient_accumulation_steps": parts}
    net, logged = in_trainer(transformers, tmp_path, method, max_norm=CLIP, **size)
    reference, losses = plain(method, parts, max_norm=CLIP)
    assert_same(net, reference)
    assert logged == pytest.approx(losses, rel=1e-6)
    assert len(logged) == len(losses)


@pytest.mark.slow
@pytest.mark.parametrize("method", [SAM, CSAM, LSAM])
def test_the_pages_trainer_resumes_to_the_same_bits_also_what_a_method_remembers(transformers, tmp_path, method):
    saving = {"save_strategy": "epoch", "lr_scheduler_type": "linear"}
    whole, _ = in_trainer(transformers, tmp_path, method, **saving)
    half = tmp_path / f"checkpoint-{len(batches())}"
    group = torch.load(half / "optimizer.pt", weights_only=True)["param_groups"][0]
    assert group["rho"] == 0.2 and 0 < group["lr"] < 0.1
    resumed, logged = in_trainer(transformers, tmp_path, method, resume=str(half), **saving)
    assert_same(resumed, whole)
    assert len(logged) == EPOCHS * len(batches())


# A loop without a closure


@pytest.mark.slow
@pytest.mark.parametrize("method", [SAM, StableSAM, ASAM])
def test_accumulated_gradients_count_in_both_halves_of_a_split_step(method):
    model, losses = network(), []
    opt = made(method, model.parameters(), CLIP)
    for _ in range(EPOCHS):
        for x, y in batches():
            opt.zero_grad()
            losses.append(summed(model, x, y, 4, torch.Tensor.backward).item())
            opt.first_step()
            summed(model, x, y, 4, torch.Tensor.backward)
            opt.second_step()
    reference, expected = plain(method, parts=4, max_norm=CLIP)
    assert_same(model, reference)
    assert losses == expected
