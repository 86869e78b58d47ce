"""What every explorable stands on: its Python face, its page without a kernel, and the modules that know no toy."""

from flatlab.explorable.face import Explorable, Number, page
from flatlab.explorable.sketch import Axis, Line, Sketch

__all__ = ["Axis", "Explorable", "Line", "Number", "Sketch", "page"]
