"""Twins: identical ones stay together to the bit, and those that differ in one example go apart because of it."""

import math

import pytest
import torch

from flatlab.runs.host import Host, Stopped
from flatlab.studies import Twins
from flatlab.studies.twins import differ_in_one, normalized_distance

SMALL = {"data": "digits", "network": "fcn3", "epochs": 3, "batch": 100}


@pytest.mark.parametrize("method", ["plain", "SAM", "StableSAM"])
def test_identical_twins_stay_at_distance_exactly_zero(method):
    distances = Twins(**SMALL, method=method, identical=True).run()["distances"]
    assert [d["epoch"] for d in distances] == [0, 1, 2, 3] and all(d["distance"] == 0 for d in distances)


def test_twins_start_at_one_place_and_part():
    result = Twins(**SMALL).run()
    distances = [d["distance"] for d in result["distances"]]
    assert distances[0] == 0 < distances[1] < 0.1
    assert {"whole_train_loss", "whole_train_accuracy"} <= set(result["final"])


@pytest.mark.parametrize("network", ["fcn3", "resnet20"])
def test_a_nudge_to_one_weight_is_all_that_tells_nudged_twins_apart(network):
    few = {"network": network, "epochs": 1, "examples": 201}
    distances = Twins(**SMALL | few, identical=True, nudge=1e-3).run()["distances"]
    assert 0 < distances[0]["distance"] < 1e-3
    with pytest.raises(ValueError, match="nudge = 0.001 has no effect here: it needs identical twins"):
        Twins(**SMALL, nudge=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_distance_is_that_of_directions_by_their_angle_at_any_scale(scale):
    """By the law of cosines, two vectors of one length at an angle t are sqrt(1 - cos t) apart."""
    for angle in (0.0, 0.1, math.pi / 3, math.pi / 2, math.pi):
        w, v = scale * torch.tensor([1.0, 0.0]), scale * torch.tensor([math.cos(angle), math.sin(angle)])
        assert normalized_distance(w, v) == pytest.approx(math.sqrt(1 - math.cos(angle)), rel=1e-6, abs=1e-7)
    assert normalized_distance(scale * torch.ones(4), 3 * scale * torch.ones(4)) == pytest.approx(math.sqrt(0.4), rel=1e-6)


def test_the_first_of_twins_trains_on_all_but_one_example():
    x, y = torch.arange(50.0)[:, None], torch.arange(50)
    (one, _), (two, labels) = differ_in_one((x, y), seed=7)
    (place,) = (one != two).any(1).nonzero().flatten().tolist()
    missing = set(range(50)) - set(one.flatten().int().tolist())
    assert {int(two[place])} == missing == {int(labels[place])}


def test_twins_go_on_where_they_were_stopped(tmp_path):
    """Whether the first or the second of them was at work."""
    whole = Twins(**SMALL).run()
    for rests in (3, 20):
        host = Host(tmp_path / "state.safetensors", every=0)
        seen = []

        def watch(news, host=host, seen=seen):
            seen.append(news)

        host.watch = watch
        calls = iter(range(10_000))
        host.due = lambda rests=rests, calls=calls, host=host: host.stop.set() if next(calls) == rests else False
        with pytest.raises(Stopped, match="stopped in epoch 1 of 3, after step"):
            Twins(**SMALL).run(host=host)
        assert Twins(**SMALL).run(host=Host(host.file)) == whole
        host.forget()
