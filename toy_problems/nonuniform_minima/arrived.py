"""How many runs with momentum have changed the minimum, to be drawn before it is seen."""

from flatlab.explorable import Axis, Line, Sketch
from toy_problems.nonuniform_minima.experiment import NonuniformEscape

__all__ = ["arrived"]


def arrived(runs: int = 1000, steps: int = 200) -> Sketch:
    """The share of runs from beside 1 that are at 0 after so many `steps`: SGD's is given, that with momentum asked for.

    >>> arrived(runs=10, steps=2).truth.name
    'Momentum'
    """
    setting = NonuniformEscape(learning_rates=17, lr_min=0.5, lr_max=0.7, runs=runs, steps=(steps,))
    found = setting.run()
    rates = [round(lr, 4) for lr in found["learning_rates"]]
    lines = {c["method"]: Line(c["method"], rates, [100 * v / runs for v in c["zero"][0]]) for c in found["curves"]}
    axes = Axis("learning rate η", 0.5, 0.7, "η"), Axis(f"runs at x = 0 after {steps} steps", 0, 100, unit="%")
    return Sketch(*axes, lines["Momentum"], lines["SGD"], every=2)
