"""The Python face of every explorable: what it refuses, what a page without a kernel gets, its bundle, its controls."""

import json
import re

import pytest
import traitlets

from flatlab.explorable.bundle import bundle, located
from tests.rooms import explorables

EVERY = pytest.mark.parametrize("cls", explorables(), ids=lambda cls: cls.__name__)
SITE = "flatlab/explorable/site.mjs"


@EVERY
def test_a_number_beyond_its_range_is_refused_by_name(cls):
    for name, allowed in cls().ranges().items():
        for wrong in (allowed["min"] - 1, allowed["max"] + 1):
            with pytest.raises(traitlets.TraitError, match=name):
                cls(**{name: wrong})
        setattr(cls(), name, allowed["initial"])


@EVERY
def test_an_unknown_name_is_refused_with_those_that_there_are(cls):
    with pytest.raises(traitlets.TraitError, match=rf"{cls.__name__} has no 'nothing'; it has {cls.public_state()[0]}"):
        cls(nothing=1)


@EVERY
def test_a_static_page_gets_state_and_ranges_and_asks_no_host(cls):
    widget = cls()
    html = widget._repr_mimebundle_()[0]["text/html"]
    options = json.loads(re.search(r"\.mount\(.*?\.default, (\{.*\})\);", html)[1])
    assert set(options["state"]) == set(cls.public_state()) and options["ranges"] == widget.ranges()
    assert not re.search(r"https?://(?!www\.w3\.org/)", html)
    assert "export " not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', html), "a script of a page exports nothing"


@EVERY
def test_a_bundle_defines_every_name_once_and_imports_nothing(cls):
    texts = [bundle(SITE, cls.module)]
    texts += [json.loads(text) for text in re.findall(r"^const program = (\".*\");$", texts[0], re.M)]
    for text in texts:
        names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function\*?|class) (\w+)", text, re.M)
        assert names and len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
        assert not re.search(r"^import ", text, re.M)


@EVERY
def test_controls_have_no_range_of_their_own(cls):
    source = located(cls.module).read_text()
    for line in source.splitlines():
        if re.search(r"\b(slider|handle)\(model", line):
            assert not re.search(r"\b(min|max|initial|halfWidth):", line), line
