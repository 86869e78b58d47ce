"""A formula in plain characters, for where none can be set: alternative texts, descriptions, excerpts of a search."""

import re

from docutils import nodes
from pylatexenc.latex2text import LatexNodes2Text

TEXT = LatexNodes2Text(math_mode="text")
RELATION = re.compile(r"\s*([=≤≥∈<>≈→⊗←])\s*")


def formula(tex: str) -> str:
    r"""The formula as one line of text.

    >>> formula(r"\lambda_{\max} \le 2/\eta"), formula(r"w \in \mathbb{R}^d"), formula(r"\lVert g\rVert")
    ('λ_max ≤ 2/η', 'w ∈ ℝ^d', '‖g‖')
    """
    return " ".join(RELATION.sub(r" \1 ", TEXT.latex_to_text(tex)).split())


def words(node: nodes.Element) -> str:
    """All text of a part of a page, its formulas in plain characters."""
    copy = node.deepcopy()
    for math in [*copy.findall(nodes.math), *copy.findall(nodes.math_block)]:
        math.parent.replace(math, nodes.Text(formula(math.astext())))
    return re.sub(r"\s+", " ", copy.astext()).strip()
