"""What the cards over symbols are told: the lines of the notation page, where they hold."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "book" / "_ext"))
import hover

ROW = "<tr><td>{}</td><td>{}</td><td></td><td>{}</td></tr>"
MATH = '<span class="math notranslate nohighlight">\\({}\\)</span>'


def page(*rows):
    return f"<table><tbody>{''.join(ROW.format(*row) for row in rows)}</tbody></table>"


def test_a_line_that_names_chapters_holds_in_these_and_on_their_second_pages_alone():
    (line,) = hover.lines(page((MATH.format("A"), "half-width", '<a href="toys/saddle.html">saddle</a>')))["A"]
    names = ("book/toys/saddle", "book/toys/saddle_detail", "book/toys/penalty")
    assert [line.holds(name) for name in names] == [True, True, False]


def test_one_letter_keeps_the_lines_of_all_its_meanings_and_two_letters_share_one():
    known = hover.lines(page((MATH.format(r"\alpha") + " (of one)", "first", ""), (MATH.format(r"\alpha"), "second", "")))
    assert [line.text.rpartition(": ")[2] for line in known["α"]] == ["first", "second"]
    known = hover.lines(page((f"{MATH.format('n')}, {MATH.format('b')}", "numbers", "")))
    assert known["n"] == known["b"]


def test_a_page_uses_a_symbol_where_it_stands_by_itself_in_a_formula():
    rows = [(MATH.format(tex), tex, "") for tex in (r"\rho", r"\hat\alpha", r"\alpha", "n", "A")]
    text = MATH.format(r"\eta\rho_t + \sin \hat\alpha") + "<p>An A in prose.</p>"
    told = [line.rpartition(": ")[2] for line in hover.used(text, hover.lines(page(*rows)), "book/x")]
    assert told == [r"\rho", r"\hat\alpha"], "neither the n of sin, nor the alpha under a hat, nor the letter of a word"


def test_what_a_page_uses_stands_at_its_end_closed():
    text = "<article><p>x</p></article><footer></footer>"
    assert hover.listed(text, ["a line"]).index("a line") < hover.listed(text, ["a line"]).index("</article>")
    assert hover.listed(text, []) == text
