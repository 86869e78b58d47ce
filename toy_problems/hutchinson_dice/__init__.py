"""Random probes of a matrix."""

from toy_problems.hutchinson_dice.hutchinson_dice import HutchinsonDice

__all__ = ["HutchinsonDice"]
