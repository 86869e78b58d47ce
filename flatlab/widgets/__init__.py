"""The explorables of the book: one class each, live in a notebook and on a static page."""

from flatlab.widgets.risk_bound import RiskBound
from flatlab.widgets.sam_saddle import SamSaddle
from flatlab.widgets.success_rate import SuccessRates

__all__ = ["RiskBound", "SamSaddle", "SuccessRates"]
