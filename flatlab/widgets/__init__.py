"""The explorables of training runs, live in a notebook and on a static page. Those of a toy stand in the toy's room."""

from flatlab.widgets.paired_runs import PairedRuns
from flatlab.widgets.run_curves import RunCurves
from flatlab.widgets.training_panel import TrainingPanel

__all__ = ["PairedRuns", "RunCurves", "TrainingPanel"]
