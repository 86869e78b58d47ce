"""A training run does what its settings say, and nothing else."""

import dataclasses
import json
import math
from itertools import count

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from flatlab import models
from flatlab.data import held_out, load
from flatlab.optim import SAM
from flatlab.penalties import gradient_noise_penalty, hessian_frobenius_penalty
from flatlab.runs import records
from flatlab.runs.experiment import config_of
from flatlab.runs.host import Host
from flatlab.training import Train
from flatlab.training.batches import Batches, Scale, epoch_seed
from flatlab.training.examples import examples, with_label_noise
from flatlab.training.methods import METHODS

SMALL = {"data": "digits", "network": "logistic", "epochs": 2, "batch": 128, "lr": 0.05}


def scaled():
    """The digits as the trainer scales them: by one mean and one deviation, over all pixels of the one channel."""
    digits = load("digits")
    x = digits.x_train.double()
    mean, deviation = x.mean(), x.std(correction=0)
    pairs = ((digits.x_train, digits.y_train), (digits.x_test, digits.y_test))
    return [part for x, y in pairs for part in (((x - mean) / deviation).float(), y)]


def by_hand(setting, penalty=lambda model, x, y: 0.0, wrap=lambda base: None):
    """The same run in plain torch: modules, an optimizer, a loop. Returns the model and the mean loss of each epoch."""
    x, y, *_ = scaled()
    torch.manual_seed(setting.seed)
    model = models.build(setting.network, (1, 8, 8), 10)
    how = {"momentum": setting.momentum, "nesterov": bool(setting.nesterov), "weight_decay": setting.weight_decay}
    base = torch.optim.SGD(model.parameters(), lr=setting.lr, **how)
    opt, steps, means = wrap(base), len(y) // setting.batch, []
    for epoch in range(setting.epochs):
        generator = torch.Generator().manual_seed(epoch_seed(setting.seed, epoch))
        order, losses = torch.randperm(len(y), generator=generator), []
        for k in range(steps):
            rows = order[k * setting.batch : (k + 1) * setting.batch]
            t, total = epoch * steps + k, setting.epochs * steps
            rise = 0.2 * total if setting.peak is None else setting.peak * total
            base.param_groups[0]["lr"] = (
                setting.lr
                * {
                    "cosine": (1 + math.cos(math.pi * t / total)) / 2,
                    "triangle": np.interp(t, [-1, rise - 1, rise, total], [0, 1, 1, 0]),
                }[setting.schedule]
            )

            def closure(rows=rows):
                base.zero_grad()
                loss = cross_entropy(model(x[rows]), y[rows], label_smoothing=setting.label_smoothing)
                (loss + penalty(model, x[rows], y[rows])).backward()
                return loss.detach()

            if opt is None:
                losses.append(closure())
                base.step()
            else:
                losses.append(opt.step(closure))
        means.append(float(torch.stack(losses).mean()))
    return model, means


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def ends_with(setting, tmp_path):
    """The record's result, and the weights at the end, from the checkpoint of the last epoch."""
    host = Host(tmp_path / "state.safetensors")
    result = setting.run(host=host)
    tensors, _ = host.kept()
    names = dict(models.build(setting.network, (1, 8, 8), 10).named_parameters())
    return result, torch.cat([tensors[f".model.{name}"].reshape(-1) for name in names])


@pytest.mark.parametrize("how", [{}, {"schedule": "triangle"}, {"schedule": "triangle", "peak": 0.47, "nesterov": True}])
def test_a_plain_run_is_the_loop_one_would_write(how, tmp_path):
    """Order, schedule, momentum, weight decay, smoothing; the last epoch's scores are those of the last weights."""
    setting = Train(**SMALL, **how, label_smoothing=0.1)
    result, weights = ends_with(setting, tmp_path)
    model, means = by_hand(setting)
    torch.testing.assert_close(weights, flat(model), rtol=1e-5, atol=1e-6)
    assert [c["train_loss"] for c in result["curves"]] == pytest.approx(means, rel=1e-5)
    *_, x, y = scaled()
    assert result["final"]["loss"] == pytest.approx(cross_entropy(model(x), y).item(), rel=1e-5)
    assert result["final"]["accuracy"] == pytest.approx(float((model(x).argmax(1) == y).float().mean()))
    assert result["curves"][-1] == result["final"] and result["evaluated_on"] == "test"
    assert result["steps"] == result["gradients"] == 2 * (1437 // 128)


def test_a_method_sees_the_same_batches_and_schedule(tmp_path):
    setting = Train(**SMALL, method="SAM", rho=0.3)
    result, weights = ends_with(setting, tmp_path)
    model, means = by_hand(setting, wrap=lambda base: SAM(base, rho=0.3))
    torch.testing.assert_close(weights, flat(model), rtol=1e-5, atol=1e-6)
    assert result["gradients"] == 2 * result["steps"]


@pytest.mark.parametrize("name", ["fa", "cov"])
def test_a_penalty_is_added_to_the_loss_it_trains_on_and_not_to_the_loss_it_reports(name, tmp_path):
    setting = Train(**SMALL | {"epochs": 1, "lr": 0.5}, **{name: 3.0})
    result, weights = ends_with(setting, tmp_path)
    step = count()

    def penalty(model, x, y):
        if name == "fa":
            signs = torch.Generator().manual_seed(epoch_seed(1, next(step)))
            return 3.0 * hessian_frobenius_penalty(model, cross_entropy, (x, y), probes=5, generator=signs)
        return 3.0 * gradient_noise_penalty(model, cross_entropy, (x, y), batch_size=128, population=1437)

    model, means = by_hand(setting, penalty)
    torch.testing.assert_close(weights, flat(model), rtol=1e-3, atol=1e-4)
    assert result["final"]["train_loss"] == pytest.approx(means[0], rel=1e-5)
    plain, _ = by_hand(setting)
    assert (flat(plain) - weights).norm() > 1e-2 * weights.norm(), "and it does make a difference"


def test_a_penalty_of_weight_zero_measures_the_curvature_of_the_same_run():
    """Dropout draws the same masks, with the probes and without; so that lambda is all that differs between two rows."""
    common = SMALL | {"network": "mlp512_256", "epochs": 2}
    plain, measured = Train(**common).run(), Train(**common, fa=0.0, penalty_every=4).run()
    assert measured["weights"] == plain["weights"]
    assert "hessian_frobenius" not in plain["final"] and measured["final"]["hessian_frobenius"] > 0


def test_the_curvature_in_the_curves_is_the_trace_of_the_squared_hessian_of_a_minibatch():
    """At the start of logistic regression H = (diag(p) - p p^T) (x) mean x x^T, and many probes leave 5% of chance."""
    setting = Train(data="digits", network="logistic", examples=40, batch=40, lr=1e-9, epochs=1, fa=0.0, probes=1000)
    final = setting.run()["final"]
    source = examples(setting)
    torch.manual_seed(setting.seed)
    model = models.build("logistic", tuple(source.train[0].shape[1:]), source.classes)
    x = source.scale(source.train[0])
    with torch.no_grad():
        p = model(x).softmax(1)
    x = torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1)
    hessian = torch.einsum("na,nb,ni,nj->aibj", p, -p, x, x) / len(x)
    hessian += torch.diag_embed(torch.einsum("na,ni,nj->ija", p, x, x) / len(x)).permute(2, 0, 3, 1)
    assert final["hessian_frobenius"] == pytest.approx(float(hessian.square().sum()), rel=0.05)
    climbed = dataclasses.replace(setting, method="SAM", rho=5.0).run()["final"]
    assert climbed["hessian_frobenius"] == pytest.approx(final["hessian_frobenius"], rel=1e-4), "at the weights, not above"
    in_parts = dataclasses.replace(setting, method="MSAM", m=10).run()["final"]
    assert in_parts["hessian_frobenius"] is None


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method):
    """Gradients are counted: k a step for LSAM, three for CSAM, and for SAMGCM, whose single samples make up one."""
    more = {"k": 4} if method == "LSAM" else {"m": 32} if method == "MSAM" else {}
    result = Train(**SMALL, method=method, **more).run()
    assert result["final"]["accuracy"] > 0.7
    assert result["gradients"] == result["steps"] * {"plain": 1, "LSAM": 4, "CSAM": 3, "SAMGCM": 3}.get(method, 2)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_method_in_every_third_step_costs_its_passes_there_alone(method):
    """Six steps, two of them the method's; against the passes of a run of the method throughout."""
    more = {"m": 16} if method == "MSAM" else {}
    common = SMALL | {"epochs": 2, "examples": 96, "batch": 32}
    whole, thinned = (Train(**common, method=method, **more, perturb_every=every).run() for every in (None, 3))
    assert whole["steps"] == 6 and whole["gradients"] % 6 == 0
    assert thinned["gradients"] == whole["gradients"] / 6 * 2 + 4
    assert thinned["weights"] != whole["weights"]


def test_without_a_number_of_steps_or_with_one_it_is_the_run_it_was():
    assert config_of(Train(method="SAM", perturb_every=1)) == config_of(Train(method="SAM"))
    assert "perturb_every" not in config_of(Train(method="SAM"))
    with pytest.raises(ValueError, match="perturb_every = 2 has no effect here: it needs a method other than plain"):
        Train(perturb_every=2)
    assert Train(method="SAM").replays and not Train(method="SAM", perturb_every=2).replays


def test_a_seed_fixes_the_run_and_another_changes_it():
    first, again, other = (Train(**SMALL, seed=seed).run() for seed in (1, 1, 2))
    assert first == again
    assert first["weights"] != other["weights"]


def test_validation_examples_are_never_trained_on_and_the_test_set_is_never_read():
    train, held = held_out(1437, 300, 0)
    source = examples(Train(**SMALL, validation=300))
    digits = load("digits")
    assert source.evaluated_on == "validation"
    assert torch.equal(source.held[0], digits.x_train[held]) and torch.equal(source.train[0], digits.x_train[train])
    assert set(train.tolist()).isdisjoint(held.tolist()) and len(train) == 1137


def test_examples_are_a_part_of_the_training_set():
    source = examples(Train(**SMALL, examples=200))
    rows = {bytes(x.numpy().tobytes()) for x in load("digits").x_train}
    assert len(source.train[1]) == 200 and all(bytes(x.numpy().tobytes()) in rows for x in source.train[0])


def test_label_noise_redraws_just_that_share_among_the_other_classes():
    y = torch.arange(10).repeat(1000)
    noisy = with_label_noise(y, 0.4, 10, torch.Generator().manual_seed(0))
    wrong = noisy != y
    assert int(wrong.sum()) == 4000
    away = ((noisy - y) % 10)[wrong].bincount(minlength=10)
    assert away[0] == 0 and (away[1:] - 4000 / 9).abs().max() < 100  # five standard deviations


def test_crops_are_shifts_by_up_to_four_pixels_and_flips_mirror():
    images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(64)

    class Same:
        def __call__(self, x):
            return x

    batches = Batches(images, labels, size=64, seed=3, scale=Same(), augment="crop_flip")
    batches.begin(5)
    x, y = batches[0]
    assert y.tolist() != sorted(y.tolist()) and sorted(y.tolist()) == labels.tolist()
    found = set()
    for image, label in zip(x, y, strict=True):
        framed = torch.zeros(3, 40, 40, dtype=torch.uint8)
        framed[:, 4:36, 4:36] = images[label]
        shifts = {
            (down, right, mirrored): framed[:, down : down + 32, right : right + 32]
            for down in range(9)
            for right in range(9)
            for mirrored in (False, True)
        }
        fits = [k for k, v in shifts.items() if torch.equal(v.flip(-1) if k[2] else v, image)]
        assert len(fits) == 1
        found |= set(fits)
    assert {mirrored for *_, mirrored in found} == {False, True} and len({f[:2] for f in found}) > 30
    batches.begin(6)
    assert not torch.equal(batches[0][0], x)
    batches.begin(5)
    assert torch.equal(batches[0][0], x), "an epoch's randomness follows from seed and epoch alone"


def test_inputs_are_scaled_to_mean_zero_and_deviation_one_a_channel():
    x = torch.randint(256, (7000, 3, 4, 4), dtype=torch.uint8)
    x //= torch.tensor([1, 2, 4], dtype=torch.uint8).view(1, 3, 1, 1)
    out = Scale(x)(x).double()
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_run_stops_once_the_loss_is_low_enough():
    whole = Train(**SMALL | {"epochs": 6}, schedule="constant").run()
    enough = whole["curves"][2]["train_loss"]
    short = Train(**SMALL | {"epochs": 6}, schedule="constant", stop_at_loss=enough).run()
    assert short["curves"] == whole["curves"][:3]


def test_a_loss_that_is_not_finite_names_step_method_and_rate_and_spoils_no_checkpoint(tmp_path):
    host = Host(tmp_path / "state.safetensors", every=0)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step \d+ of epoch 1 with SAM, rho 0.1, lr 1e\+20"):
        Train(**SMALL | {"lr": 1e20}, method="SAM", rho=0.1).run(host=host)
    kept = host.kept()
    assert kept is None or all(torch.isfinite(v).all() for v in kept[0].values() if v.is_floating_point())


def test_weights_that_an_epochs_last_step_has_spoiled_are_told_too():
    """In full batch that is every step: the loss before it is a number, and only the scores after it are none."""
    with pytest.raises(FloatingPointError, match=r"the loss on test examples is nan after epoch 1 with plain, lr 1e\+38"):
        Train(data="digits", network="logistic", examples=40, batch=40, epochs=2, lr=1e38).run()


def test_the_wrong_labels_of_seed_0_are_drawn_apart_from_the_order_of_an_epoch():
    """With one seed for both, an epoch would begin with all wrong labels."""
    setting = Train(data="digits", network="logistic", seed=0, label_noise=0.2)
    wrong = examples(setting).train[1] != load("digits").y_train
    for epoch in range(5):
        order = torch.randperm(len(wrong), generator=torch.Generator().manual_seed(epoch_seed(0, epoch)))
        assert 0.1 < wrong[order[: len(wrong) // 5]].float().mean() < 0.3


def test_bf16_is_near_fp32_and_not_the_same():
    full, half = (Train(**SMALL, precision=p).run()["final"] for p in ("fp32", "bf16"))
    assert half["loss"] == pytest.approx(full["loss"], rel=0.05) and half["loss"] != full["loss"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"data": "cifar"}, "data must be one of digits, .*got 'cifar'"),
        ({"network": "resnet21"}, "network must be one of .*resnet20.*got 'resnet21'"),
        ({"method": "sam"}, "method must be one of .*SAM.*got 'sam'"),
        ({"rho": 0.1}, "rho = 0.1 has no effect here: it needs method .*SAM"),
        ({"method": "SAM", "rho": -0.1}, "rho must be >= 0, got -0.1"),
        ({"method": "SAM", "k": 2}, "k = 2 has no effect here: it needs method LSAM"),
        ({"base": "Adam", "momentum": 0.5}, "momentum = 0.5 has no effect here: it needs base SGD"),
        ({"base": "Adam", "nesterov": True}, "nesterov = True has no effect here: it needs base SGD"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov needs a momentum > 0, got 0"),
        ({"peak": 0.3}, "peak = 0.3 has no effect here: it needs schedule triangle"),
        ({"schedule": "constant", "peak": 0.3}, "peak = 0.3 has no effect here: it needs schedule triangle"),
        ({"schedule": "triangle", "peak": 1.0}, "peak must be > 0 and < 1, got 1.0"),
        ({"width": (1, 2, 3)}, r"width = \(1, 2, 3\) has no effect here: it needs network fast_cifar"),
        ({"network": "fast_cifar", "width": (64, 256)}, r"width must be 3 whole numbers >= 1, got \(64, 256\)"),
        ({"network": "fast_cifar", "width": (64, 256, 0)}, r"width must be 3 whole numbers >= 1, got \(64, 256, 0\)"),
        ({"probes": 3}, "probes = 3 has no effect here: it needs a weight of the penalty, fa"),
        ({"method": "MSAM", "m": 3}, "m must be a whole number >= 1 that divides the 128 samples, got 3"),
        ({"method": "CSAM", "ema": 1.0}, "ema must be > 0 and < 1, got 1.0"),
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"lr": float("nan")}, "lr must be finite and > 0, got nan"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be >= 0 and < 1, got 1.0"),
        ({"precision": "fp8"}, "precision must be one of fp32, tf32, bf16, fp16, got 'fp8'"),
    ],
)
def test_settings_that_are_not_allowed_or_without_effect_are_named(given, told):
    with pytest.raises(ValueError, match=told):
        Train(**given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"examples": 1000, "validation": 1000}, "examples and validation ask for 2000 of the 1437 training examples"),
        ({"batch": 2000}, "batch must be at most the 1437 training examples, got 2000"),
    ],
)
def test_settings_that_the_data_cannot_meet_are_named(given, told):
    with pytest.raises(ValueError, match=told):
        Train(**SMALL | given).run()


def test_a_record_holds_no_setting_that_is_off():
    """So that a new setting, off by default, leaves the keys of old records alone."""
    assert None not in config_of(Train()).values()
    assert json.dumps(config_of(Train(method="LSAM"))).count('"k": 2') == 1
    assert config_of(Train(nesterov=False)) == config_of(Train())
    assert records.key(config_of(Train())) == "366ac6876f4e", "as before there were triangle and width"
