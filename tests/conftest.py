"""Which tests a quick check leaves out: those that need the built site, a browser, or minutes."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SITE = [HERE / "browser", HERE / "book" / "test_site.py", HERE / "book" / "test_notebooks.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if any(place == item.path or place in item.path.parents for place in SITE):
            item.add_marker(pytest.mark.site)
