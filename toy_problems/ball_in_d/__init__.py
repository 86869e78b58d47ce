"""The uniform distribution on a ball of many dimensions."""

from toy_problems.ball_in_d.ball_in_d import BallInD

__all__ = ["BallInD"]
