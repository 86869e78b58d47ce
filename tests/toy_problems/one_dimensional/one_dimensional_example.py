"""Instances on which the twin in JavaScript is compared with Python, and what it is told of them."""

from toy_problems.one_dimensional import CURVES, Table

TABLE = {"start": -3.0, "step": 0.25, "values": [((7 * k) % 11) / 10 for k in range(25)]}


def landscapes():
    for name, curve in CURVES.items():
        yield curve, {"name": name}
    yield Table(**TABLE), {"table": TABLE}
