"""The explorables of the book: one class each, live in a notebook and on a static page."""

from flatlab.widgets.sam_saddle import SamSaddle

__all__ = ["SamSaddle"]
