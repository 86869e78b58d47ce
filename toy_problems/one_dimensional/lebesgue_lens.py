"""Explorable of the local average and the local maximum of a loss."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["LebesgueLens"]


class LebesgueLens(Explorable):
    """A loss of one weight with its average and its maximum over an interval of half-width `rho`, and where each is least.

    `curve` is one of `wells`, `needle`, `kink`, `step`, `rough`, and `network` if there is a `table`; `w` is the place, in
    `[-2, 2]`, at which the numbers are read. Setting one outside its range raises `traitlets.TraitError`.

    >>> LebesgueLens(rho=0.2).rho
    0.2
    """

    caption = "A loss of one weight, its average and maximum over a ball, its oscillation there, and where each is least."

    curve = traitlets.Enum(["wells", "needle", "kink", "step", "rough", "network"], "wells").tag(sync=True)
    rho = Number(0.1, 0.005, 1.0)
    w = Number(-0.9, -2.0, 2.0)
    table = traitlets.Dict().tag(sync=True)

    @classmethod
    def of(cls, record: dict, **state):
        """The explorable with the slice of a record of the experiment `network_slice`."""
        result = record["result"]
        return cls(table={"start": result["start"], "step": result["step"], "values": result["train"]}, **state)
