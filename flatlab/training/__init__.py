"""Networks in training, and what is measured on the way."""

from flatlab.training.gradient_pairs import GradientPairs
from flatlab.training.local_gradients import LocalGradients
from flatlab.training.loss_plane import LossPlane
from flatlab.training.minima import Minimum
from flatlab.training.network_slice import NetworkSlice
from flatlab.training.train import Train
from flatlab.training.twins import Twins

__all__ = ["GradientPairs", "LocalGradients", "LossPlane", "Minimum", "NetworkSlice", "Train", "Twins"]
