"""Somebody else's network and data: the page's example, what is given in Python, and what is said of what does not fit."""

import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from flatlab.data import load
from flatlab.runs import records
from flatlab.runs.experiment import config_of, perform
from flatlab.runs.host import Host, Stopped
from flatlab.training import Train

PAGE = Path(__file__).parents[2] / "book" / "own_runs.md"
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.M | re.S)
MINE = """
import torch
from torch import nn

def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes))

def one_too_many(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes + 1))

def wants_images(shape, classes):
    return nn.Conv2d(3, classes, 3)

def frozen(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], classes)).requires_grad_(False)

def nothing(shape, classes):
    pass

def fails(*arguments):
    return [][1]

def load():
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return x[:200], y[:200], x[200:], y[200:]

def three():
    return load()[:3]

def labels_of_another_length():
    x, y, *test = load()
    return x, y[1:], *test

def labels_that_are_no_classes():
    x, y, *test = load()
    return x, y - 1, *test

def not_finite():
    x, *rest = load()
    return x.log(), *rest

def words():
    return ["a"], *load()[1:]

def unlike():
    x, *rest = load()
    return x[:, :1], *rest

seven = 7
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module outside the package, in the folder where its owner works."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


OWN = {"network": "mine:build", "data": "mine:load", "epochs": 3, "batch": 20, "lr": 0.05}


def test_the_pages_example_trains_records_loads_and_measures(tmp_path, monkeypatch):
    """As a reader would: cell after cell, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    section = PAGE.read_text().partition("## Your network, your data")[2].partition("\n## ")[0]
    names = {}
    for cell in CELL.findall(section):
        exec(compile(cell, str(PAGE), "exec"), names)
    run, (record,) = names["run"], records.find(tmp_path / "runs", "train")
    assert run.checksum() == record["result"]["weights"] and record["config"]["network"] == "mine:build"
    assert run.evaluate(*run.held)[1] == record["result"]["final"]["accuracy"] > 0.9
    assert names["trace"].value > 0
    sys.modules.pop("mine", None)


def recipe(logger):
    """The page's watcher, its settings, and what it says of one logger, as one program."""
    blocks = re.findall(r"^```(?:\{code-cell\} )?python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    parts = "mine.py", "own =", "def each_epoch", "chosen =", logger
    return "\n".join(next(block for block in blocks if part in block) for part in parts)


def test_the_recipe_for_tensorboard_writes_every_epoch_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(recipe("SummaryWriter"), str(PAGE), "exec"), {})
    sys.modules.pop("mine", None)
    board = EventAccumulator("tensorboard")
    board.Reload()
    curves = records.only("runs", "train", seed=7)["result"]["curves"]
    for name in ("accuracy", "train_loss"):
        assert [(e.step, e.value) for e in board.Scalars(name)] == [(c["epoch"], pytest.approx(c[name])) for c in curves]


def test_the_recipe_for_wandb_logs_every_epoch(tmp_path, monkeypatch):
    """Without a network wandb writes a log, in which the values stand as JSON."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile(recipe("wandb.init"), str(PAGE), "exec"), {})
    wandb.teardown()  # returns once all is written
    sys.modules.pop("mine", None)
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    curves = records.only("runs", "train", seed=7)["result"]["curves"]
    assert len(curves) == 2 and all(json.dumps(c["train_loss"]).encode() in log.read_bytes() for c in curves)


@pytest.mark.slow
def test_the_command_line_trains_what_lies_where_one_works(mine):
    """With the command `flatlab` as installed, whose path does not begin with the folder; and the record's command too."""
    script = "import sys; sys.path[:] = [p for p in sys.path if p not in ('', sys.argv[1])]; del sys.argv[1]; "
    script += "from flatlab.__main__ import run; run()"
    settings = [word for name, value in OWN.items() for word in (f"--{name}", str(value))]
    words = [sys.executable, "-c", script, str(mine), "train", *settings, "--out", "out"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    record = records.only("out", "train")
    assert record["result"] == json.loads(perform(Train(**OWN), "again").read_text())["result"]
    again = [sys.executable, *record["command"].split()[1:], "--out", "third"]
    subprocess.run(again, check=True, capture_output=True, env=os.environ)
    assert records.only("third", "train")["result"] == record["result"]


def test_an_own_run_that_was_stopped_goes_on_to_the_same_bits_and_not_with_other_data(mine):
    chosen = Train(**OWN)
    host = Host(mine / "state.safetensors")
    host.watch = lambda news: host.stop.set() if news["epoch"] == 2 else None
    with pytest.raises(Stopped):
        chosen.run(host=host)
    import mine as module

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="its data have another checksum"):
        x, *rest = module.load()
        patch.setattr(module, "load", lambda: (x + 1, *rest))
        chosen.run(host=Host(host.file))
    assert chosen.run(host=Host(host.file)) == chosen.run()


def test_functions_modules_and_tensors_are_given_in_python(mine):
    import mine as module

    assert Train(**OWN | {"network": module.build, "data": module.load}) == Train(**OWN)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    begun = [p.clone() for p in model.parameters()]
    given = Train(**OWN | {"network": model, "data": module.load()})
    path = perform(given, "out")
    assert json.loads(path.read_text())["config"]["network"].startswith("given:Sequential-")
    assert all(map(torch.equal, model.parameters(), begun)), "a copy is trained"
    run = Train.finished(path)
    assert run.evaluate(*run.held)[1] == json.loads(path.read_text())["result"]["final"]["accuracy"]
    assert config_of(replace(given, seed=2))["network"] == given.network, "other settings keep what was given"
    assert Train(**OWN | {"network": model, "data": module.load()}) == given, "the same things are the same run"
    with torch.no_grad():
        model[0].bias += 1
    assert Train(**OWN | {"network": model}).network != given.network, "other weights to begin with are another run"
    with pytest.raises(ValueError, match="given:Sequential-.* has been changed since it was given: give it again"):
        given.run()


class Activated(nn.Module):
    def __init__(self, act, slope=1.0):
        super().__init__()
        self.layer, self.act, self.slope = nn.Linear(64, 10), act, slope

    def forward(self, x):
        return self.slope * self.act(self.layer(x.flatten(1)))


def test_networks_that_differ_in_code_settings_or_what_is_frozen_are_other_runs():
    """Their weights and their print-out are the same; under one name the second would train the first."""
    first = Activated(torch.relu)

    def again(act=torch.relu, slope=1.0):
        other = Activated(act, slope)
        other.load_state_dict(first.state_dict())
        return other

    frozen = again()
    frozen.layer.bias.requires_grad_(False)

    class Subclass(Activated):
        def forward(self, x):
            return -super().forward(x)

    sub = Subclass(torch.relu)
    sub.load_state_dict(first.state_dict())
    leaky = [again(functools.partial(nn.functional.leaky_relu, negative_slope=slope)) for slope in (0.1, 0.2)]
    networks = [
        first,
        again(torch.tanh),
        again(slope=2.0),
        again(lambda z: z**2),
        again(lambda z: z**3),
        frozen,
        sub,
        *leaky,
    ]
    runs = [Train(**OWN | {"data": "digits", "network": network}) for network in networks]
    assert len({run.network for run in runs}) == len(networks)
    assert Train(**OWN | {"data": "digits", "network": again()}).network == runs[0].network, "the same are the same run"
    assert len({run.run()["weights"] for run in runs[:3]}) == 3


def test_data_of_another_shape_have_another_checksum():
    """The bytes are the same: rows of an image for its columns."""
    x, y = torch.arange(24, dtype=torch.uint8), torch.tensor([0, 1])
    tall, wide = ((x.view(2, *shape), y, x.view(2, *shape), y) for shape in ((1, 4, 3), (1, 3, 4)))
    assert Train(**OWN | {"data": tall}).data != Train(**OWN | {"data": wide}).data


def test_a_data_set_of_the_library_is_given_as_it_is():
    given = Train(data=load("digits"), network="logistic", epochs=1)
    assert given.run()["weights"] == Train(data="digits", network="logistic", epochs=1).run()["weights"]


def test_tied_weights_are_kept_and_loaded(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.out = nn.Linear(64, 64, bias=False), nn.Linear(64, 10)
            self.again = self.into

        def forward(self, x):
            return self.out(self.again(self.into(x.flatten(1)).relu()))

    path = perform(Train(data="digits", network=Tied(), epochs=1), tmp_path)
    host = Host(tmp_path / "state.safetensors")
    chosen = Train(data="digits", network=Tied(), epochs=1)
    chosen.run(host=host)
    assert host.kept() is not None and path.with_suffix(".safetensors").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"network": "mine:"}, "network must be MODULE:FUNCTION, as package.module:build, got 'mine:'"),
        ({"data": "my file.py:load"}, "data must be MODULE:FUNCTION, .*, got 'my file.py:load'"),
        ({"network": "yours:build"}, "network yours:build: no module yours is found: put its folder on PYTHONPATH"),
        ({"network": "mine:biuld"}, "network mine:biuld: mine has no biuld; did you mean 'build'?"),
        ({"network": "mine:seven"}, "network mine:seven is no function but int"),
        ({"network": "mine:load"}, r"network mine:load must take \(shape, classes\): too many positional arguments"),
        ({"network": "mine:fails"}, r"network mine:fails\(\(2,\), 2\) raised IndexError: .* \(.*mine.py, line 21\)"),
        ({"network": "mine:nothing"}, "network mine:nothing must give a torch module, got NoneType"),
        ({"network": "mine:frozen"}, "network mine:frozen has no parameter to train"),
        (
            {"network": "mine:one_too_many"},
            r"must give 2 logits a sample, \(2, 2\) for inputs \(2, 2\), got shape \(2, 3\)",
        ),
        ({"network": "mine:wants_images"}, r"network mine:wants_images, for inputs \(2, 2\), raised RuntimeError"),
        ({"network": "given:Linear-0123456789ab"}, "was given in Python: give it again, in this process"),
        ({"data": "mine:build"}, "data mine:build must take no arguments: missing a required argument: 'shape'"),
        ({"data": "mine:three"}, r"data mine:three must be a data set or the four tensors \(x_train, .*\), got 3 of them"),
        ({"data": "mine:words"}, "data mine:words: x_train must be a tensor, got list"),
        ({"data": "mine:not_finite"}, "data mine:not_finite: x_train must be finite"),
        ({"data": "mine:labels_of_another_length"}, r"y_train must be 200 whole numbers, shape \(200,\), got \(199,\)"),
        ({"data": "mine:labels_that_are_no_classes"}, "y_train must be classes from 0, got -1"),
        ({"data": "mine:unlike"}, r"x_train and x_test must be alike, got \(n, 1\) of torch.float32 and \(n, 2\)"),
        ({"augment": "crop"}, r"augment crop is for images \(channels, height, width\), got \(2,\)"),
        (
            {"network": lambda shape, classes: None},
            "network must be a function that its module knows by name, got .*lambda",
        ),
        ({"network": nn.Sequential(nn.LazyLinear(2))}, "network has layers that are still lazy: run it on an input once"),
        ({"data": 3}, "data must be a word, a data set, four tensors .* or a function, got int"),
        ({"data": (1, 2)}, r"data must be a data set or the four tensors \(x_train, .*\), got 2 of them"),
    ],
)
def test_what_is_wrong_with_a_function_or_its_result_is_named(mine, given, told):
    with pytest.raises(ValueError, match=told):
        Train(**OWN | given).run()
