"""Studies that measure while a network trains: stopped and resumed, their records are the same."""

import pytest

from flatlab.runs.host import Host, Stopped
from flatlab.studies import EigenvectorCut, NoiseAndSharpness

SMALL = {"data": "digits", "network": "logistic", "epochs": 3, "lr": 0.05, "momentum": 0.0, "images": 30}
STUDIES = EigenvectorCut(**SMALL, cut_every=1, points=3), NoiseAndSharpness(**SMALL, measure_every=1)


@pytest.mark.parametrize("setting", STUDIES, ids=lambda setting: type(setting).__name__)
def test_a_run_that_is_stopped_goes_on_to_the_same_record(setting, tmp_path):
    whole = setting.run()
    host = Host(tmp_path / "state.safetensors")
    host.watch = lambda news: host.stop.set() if news["epoch"] == 2 else None
    with pytest.raises(Stopped, match="stopped in epoch [23] of 3"):
        setting.run(host=host)
    assert setting.run(host=Host(tmp_path / "state.safetensors")) == whole
