"""Instances on which the twin in JavaScript is compared with Python, and what it is told of them."""

from toy_problems import ScalarFactorization


def landscapes():
    toy = ScalarFactorization.sample(n=40, theta=(1.0, 1.0), seed=3)
    yield toy, {"x": toy.x.tolist(), "y": toy.y.tolist()}
