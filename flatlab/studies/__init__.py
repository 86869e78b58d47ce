"""What the papers measure on networks in training, one file a study."""

from flatlab.studies.eigenvector_cut import EigenvectorCut
from flatlab.studies.gradient_pairs import GradientPairs
from flatlab.studies.local_gradients import LocalGradients
from flatlab.studies.loss_plane import LossPlane
from flatlab.studies.minima import Minimum
from flatlab.studies.mistakes import Mistakes
from flatlab.studies.network_slice import NetworkSlice
from flatlab.studies.noise_and_sharpness import NoiseAndSharpness
from flatlab.studies.split_shift import SplitShift
from flatlab.studies.twins import Twins

__all__ = [
    "EigenvectorCut",
    "GradientPairs",
    "LocalGradients",
    "LossPlane",
    "Minimum",
    "Mistakes",
    "NetworkSlice",
    "NoiseAndSharpness",
    "SplitShift",
    "Twins",
]
