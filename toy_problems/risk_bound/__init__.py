"""Bounds on the risk of SGD, SAM and StableSAM."""

from toy_problems.risk_bound.risk_bound import RiskBound

__all__ = ["RiskBound"]
