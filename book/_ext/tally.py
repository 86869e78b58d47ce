"""How many claims of a paper have which verdict, as a bar and in words; each count leads to those claims."""

import sys
from collections import Counter
from html import escape
from pathlib import Path
from urllib.parse import urlencode

sys.path.append(str(Path(__file__).parents[2]))  # the book's own packages
from book.ledger import NAMES, VERDICTS

LEDGER = "book/ledger"
"""The page of the ledger."""


def named(verdict):
    """A verdict as a coloured word.

    >>> named("held in part")
    '<span class="verdict held-in-part">held in part</span>'
    """
    return f'<span class="verdict {verdict.replace(" ", "-")}">{escape(verdict)}</span>'


def counted(verdict, count):
    """How many claims have a verdict, in words that agree in number.

    >>> counted("contradicts itself", 1), counted("contradicts itself", 21), counted("held", 3)
    ('1 contradicts itself', '21 contradict themselves', '3 held')
    """
    several = {"contradicts itself": "contradict themselves"}
    return f"{count} {several.get(verdict, verdict) if count != 1 else verdict}"


def chosen(ledger, paper, verdict=None):
    """The address of the ledger with only these claims shown.

    >>> chosen("ledger.html", "anonymous2025lsam", "not run yet")
    'ledger.html?paper=anonymous2025lsam&amp;verdict=not+run+yet'
    """
    return escape(f"{ledger}?{urlencode({'paper': paper} | ({'verdict': verdict} if verdict else {}))}")


def tally(claims, ledger):
    """A bar whose parts are as long as their counts, and the counts in words; `claims` are those of one paper."""
    paper, counts = claims[0]["paper"], Counter(c["verdict"] for c in claims)
    parts, words = [], []
    for verdict in VERDICTS:
        if count := counts[verdict]:
            link = f'href="{chosen(ledger, paper, verdict)}" data-paper="{paper}" data-verdict="{verdict}"'
            look = f'class="{verdict.replace(" ", "-")}" style="flex-grow: {count}" title="{counted(verdict, count)}"'
            parts.append(f'<a {link} {look} tabindex="-1">{count}</a>')
            words.append(f"<a {link}>{counted(verdict, count)}</a>")
    whole = f'<a href="{chosen(ledger, paper)}" data-paper="{paper}" data-verdict=""><b>{NAMES[paper]}</b></a>'
    bar = f'<div class="bar" aria-hidden="true">{"".join(parts)}</div>'
    return f'<div class="tally"><p>{whole}, {len(claims)} claims: {", ".join(words)}.</p>{bar}</div>'
