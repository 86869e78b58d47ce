"""Flatlab: rules, optimizers and measures for the study of flat minima.

The parts, from the bottom up: `flatlab.rules` (a method's direction), `flatlab.landscape` (a loss on flat vectors),
`flatlab.descent` (a rule run on a landscape), `flatlab.optim` (a rule run on a network), `flatlab.penalties` (flatness
as a term of the loss), `flatlab.measures` (what flatness is measured by), `flatlab.explorable` (what figures that
answer stand on), `flatlab.widgets` (those of training runs).
"""

__version__ = "0.2.0"
