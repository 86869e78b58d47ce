"""How many starts the saddle swallows, to be drawn before it is seen."""

from flatlab.explorable import Axis, Line, Sketch
from toy_problems.lucchi.experiment import LucchiSuccessRate

__all__ = ["caught"]


def caught(starts: int = 1000, steps: int = 300, lr: float = 0.1) -> Sketch:
    """The share of starts in the square that end at the saddle, against the radius: SAM's is given, StableSAM's asked for.

    A start is caught if it is within 0.5 of the saddle after so many `steps`.

    >>> caught(starts=10, steps=2).given.name
    'SAM'
    """
    rhos = tuple(k / 20 for k in range(9))
    setting = LucchiSuccessRate(
        learning_rates=1, lr_min=lr, lr_max=lr, starts=starts, rhos=rhos, steps=(steps,), radii=(0.5,)
    )
    curves = setting.run(fused=1)["curves"]
    share = lambda name: [100 * c["saddle"][0][0][0] / starts for c in curves if c["method"] == name]  # noqa: E731
    sam, stable = (Line(name, rhos, share(name)) for name in ("SAM", "StableSAM"))
    return Sketch(Axis("radius ρ", 0, 0.4, "ρ"), Axis("starts that the saddle holds", 0, 50, unit="%"), stable, sam)
