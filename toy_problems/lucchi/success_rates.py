"""Explorable of the frozen success-rate experiment."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["SuccessRates"]


class SuccessRates(Explorable):
    """Share of starts that reach a minimum of Lucchi's saddle against the learning rate, from a frozen record.

    `rho`, `steps` and `radius` pick among the values that the record holds; `axis` is `rate` or `time` (learning rate times
    steps); `at` is the learning rate that the table reads out. Build it with `SuccessRates.of(record)`.
    """

    caption = "Share of starts that end near a minimum against the learning rate, for GD, SAM and StableSAM."

    record = traitlets.Dict().tag(sync=True)
    rho = Number(0.2, 0.0, 10.0)
    steps = traitlets.Int(300, min=1).tag(sync=True)
    radius = Number(0.01, 0.0, 10.0)
    axis = traitlets.Enum(["rate", "time"], "rate").tag(sync=True)
    at = Number(0.2, 1e-6, 1.0)

    def ranges(self):
        """Those of the traits, but within what the record holds."""
        found = super().ranges()
        if self.record:
            held = {"at": self.record["result"]["learning_rates"]}
            held |= {"rho": self.record["settings"]["rhos"], "radius": self.record["settings"]["radii"]}
            for name, values in held.items():
                found[name] |= {"min": values[0], "max": values[-1]}
        return found

    @classmethod
    def of(cls, record: dict, **state):
        """The explorable of one record of the experiment `lucchi_success_rate`."""
        return cls(record={"settings": record["config"], "result": record["result"]}, **state)
