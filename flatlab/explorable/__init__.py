"""What every explorable stands on: its Python face, its page without a kernel, and the modules that know no toy."""

from flatlab.explorable.face import Explorable, Number, page

__all__ = ["Explorable", "Number", "page"]
