"""The panel that trains, on the real trainer: nothing lost by a stop, a wrong setting or a new kernel."""

import gc
import html
import json
import re
import threading

import pytest
import torch

from flatlab.studies import Twins
from flatlab.training import Train
from flatlab.widgets import TrainingPanel
from flatlab.widgets.training_panel import stopped_runs

SHORT = {"data": "digits", "network": "logistic", "method": "SAM", "rho": 0.1, "batch": 32, "epochs": 3}


def said(panel):
    return html.unescape(re.sub("<[^>]*>", "", panel.said.value))


def records(out, experiment="train"):
    return [json.loads(f.read_text()) for f in (out / experiment).glob("*.json")]


def stop_in(panel, epoch):
    """Press stop as soon as the run is in that epoch, from the run's own thread, so that it never comes too late."""
    watch = panel._watch

    def pressing(news):
        watch(news)
        if news["epoch"] >= epoch:
            panel.stop.click()

    panel._watch = pressing
    panel.start.click()
    assert panel.wait(60)


def test_a_run_leaves_its_record_and_its_curve(tmp_path):
    panel = TrainingPanel(out=tmp_path, **SHORT)
    panel.start.click()
    assert panel.stop.disabled is False and panel.form["lr"].disabled
    assert panel.wait(60) and "Done" in said(panel) and panel.bar.value == 1
    told = r"epoch 3 of 3 · loss [\d.]+ · accuracy [\d.]+% after epoch 3 · [\d,]+ images/s · 0 s left"
    assert re.fullmatch(told, panel.told.value)
    (record,) = records(tmp_path)
    assert record["command"].startswith("python -m flatlab train --data digits --network logistic --method SAM")
    (run,) = panel.curves.runs["runs"]
    assert run["line"] == "SAM" and run["accuracy"] == [round(p["accuracy"], 5) for p in record["result"]["curves"]]
    assert panel.start.disabled and panel.stop.disabled and not panel.form["lr"].disabled
    panel.form["seed"].value = "2"
    assert not panel.start.disabled, "other settings can be run"


def test_stopped_and_resumed_in_another_panel_gives_the_weights_of_an_unbroken_run(tmp_path):
    first = TrainingPanel(out=tmp_path, **SHORT)
    stop_in(first, 2)
    assert re.search("stopped in epoch [23] of 3", said(first)) and not records(tmp_path)
    assert len(first.curves.runs["runs"][0]["accuracy"]) in (1, 2), "its curve stays"
    second = TrainingPanel(out=tmp_path)  # of other settings, as after a restart of the kernel
    ((label, _),) = second.waiting.options
    assert re.fullmatch(re.escape(Train(**SHORT).title()) + r" \(after epoch [12]\)", label)
    second.resume.click()
    assert second.form["network"].value == "logistic"
    assert second.form["momentum"].value == "", "what is filled in by itself stays empty"
    assert second.wait(60)
    (record,) = records(tmp_path)
    assert record["result"]["weights"] == Train(**SHORT).run()["weights"]
    assert second.waiting.options == () and second.resume.layout.display == "none"


def test_twins_are_trained_and_resumed_as_well(tmp_path):
    panel = TrainingPanel(out=tmp_path, experiment=Twins, **SHORT)
    stop_in(panel, 2)
    ((_, epoch),) = stopped_runs(tmp_path, Twins)
    assert epoch in (1, 2), "the second twin may not have begun the epoch"
    panel = TrainingPanel(out=tmp_path, experiment=Twins)
    panel.resume.click()
    assert panel.wait(60) and len(panel.curves.runs["runs"][0]["distance"]) == 4


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("method", "plain", "rho = 0.1 has no effect here: it needs method"),
        ("lr", "-1", "lr must be > 0, got -1.0"),
        ("lr", "fast", "lr must be a number, got 'fast'"),
        ("epochs", "2.5", "epochs must be a whole number, got '2.5'"),
        ("scale_1d", "maybe", "scale_1d must be true or false, got 'maybe'"),
        ("network", "resnet21", "network must be one of"),
        ("seed", "", "seed must be a whole number, got ''"),
    ],
)
def test_a_wrong_setting_is_said_in_the_panel_and_everything_typed_stays(tmp_path, name, value, message):
    panel = TrainingPanel(out=tmp_path, **SHORT)
    panel.form[name].value = value
    assert message in said(panel) and panel.start.disabled
    assert panel.form[name].value == value and panel.form["batch"].value == "32"
    panel.form[name].value = str(SHORT.get(name, "")) if name != "lr" else "0.1"
    if name != "seed":
        assert not panel.start.disabled


def test_the_form_begins_with_what_is_asked_and_refuses_what_is_not_allowed(tmp_path):
    assert TrainingPanel(out=tmp_path, **SHORT).chosen() == Train(**SHORT)
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        TrainingPanel(out=tmp_path, epoch=3)
    with pytest.raises(ValueError, match="rho must be >= 0, got -1"):
        TrainingPanel(out=tmp_path, method="SAM", rho=-1.0)


def test_a_failed_run_says_why_and_the_panel_can_be_used_again(tmp_path):
    panel = TrainingPanel(out=tmp_path, **SHORT | {"batch": 5000})
    panel.start.click()
    assert panel.wait(60) and "batch must be at most the 1437 training examples, got 5000" in said(panel)
    panel.form["batch"].value = "32"
    panel.start.click()
    assert panel.wait(60) and "Done" in said(panel)


def test_a_network_and_data_of_ones_own_are_trained_and_drawn(tmp_path):
    x, y = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
    panel = TrainingPanel(out=tmp_path, network=torch.nn.Linear(4, 2), data=(x, y, x, y), batch=16, epochs=2)
    gc.collect()
    panel.start.click()
    assert panel.wait(60) and "Done" in said(panel)
    (run,) = panel.curves.runs["runs"]
    assert len(run["accuracy"]) == 2


def test_a_device_that_is_not_there_is_named(tmp_path):
    panel = TrainingPanel(out=tmp_path, device="cuda:99", **SHORT)
    panel.start.click()
    assert "device 'cuda:99' is not there" in said(panel) and not panel.running


def test_a_static_page_gets_the_curves_of_the_frozen_records(tmp_path):
    panel = TrainingPanel(out=tmp_path, **SHORT)
    panel.start.click()
    assert panel.wait(60)
    frozen = TrainingPanel(records(tmp_path), out=tmp_path / "other", data="digits", network="logistic")
    data, _ = frozen._repr_mimebundle_()
    assert 'data-explorable="TrainingPanel"' in data["text/html"] and "application/vnd.jupyter.widget-view+json" in data
    assert len(frozen.curves.runs["runs"]) == 1, "and beside the panel's own runs they are live, too"


def test_starting_twice_runs_once(tmp_path):
    panel = TrainingPanel(out=tmp_path, **SHORT)
    before = threading.active_count()
    panel.start.click()
    panel.start.click()
    panel.resume.click()
    assert threading.active_count() <= before + 1
    assert panel.wait(60)
    assert len(records(tmp_path)) == 1
