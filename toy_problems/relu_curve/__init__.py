"""A ReLU network of one input that does not change while it is rescaled."""

from toy_problems.relu_curve.landscape import INPUTS, TARGETS, network, rescaled, trained
from toy_problems.relu_curve.reparameterize import Reparameterize

__all__ = ["INPUTS", "TARGETS", "Reparameterize", "network", "rescaled", "trained"]
