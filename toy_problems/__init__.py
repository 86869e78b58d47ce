"""The papers' toys: one module a toy, its landscape in closed form and the experiment of the paper's figure."""

from toy_problems.lucchi import Lucchi

__all__ = ["Lucchi"]
