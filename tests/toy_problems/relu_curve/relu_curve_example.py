"""Instances on which the twin in JavaScript is compared with Python, and what it is told of them."""

from toy_problems import relu_curve


def landscapes():
    yield relu_curve.network(), {}
