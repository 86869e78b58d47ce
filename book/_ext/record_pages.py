"""Pages of the records, light enough that there is one for each: settings, scores, curves, provenance, command.

`records/EXPERIMENT/KEY.html`, a list an experiment; and for each claim whose verdict several
records decide, `records/claims/CLAIM.html`, the list of those that its function read. Where a chapter names a record
under a figure, the name leads to its page.
"""

import re
import shutil
from pathlib import Path

from colab import repository
from ledger_page import TEMPLATES
from tally import LEDGER

from book import evidence, ledger
from book.finding import RESULTS
from flatlab.runs.listing import called, curves, differing, duration, scores, shown

WIDTH, HEIGHT, POINTS = 220, 90, 40
"""Of the drawing of one curve; more points than these are thinned evenly."""
CHARTS, READERS = 8, 10
"""No more curves, and no more claims that read a record, are on its page; it says how many are left out."""
NAMED = re.compile(r"(Record )(\w+)/([0-9a-f]{12})(?=:)")


def chart(name, points):
    """One curve as SVG, with its ends in words, or None of fewer than two points.

    >>> chart("loss", [(k, 1 / k) for k in range(1, 100)])["path"].split()[::33]           # both ends stay
    ['0,2', '220,88']
    """
    if len(points) < 2:
        return None
    step = max(1, -(-len(points) // POINTS))
    thin = points[:1] + points[:0:-step][::-1]  # the ends stay
    (x0, x1), ys = (points[0][0], points[-1][0]), [y for _, y in points]
    low, high = min(ys), max(ys)
    right, up = WIDTH / ((x1 - x0) or 1), (HEIGHT - 4) / ((high - low) or 1)
    path = " ".join(f"{(x - x0) * right:.0f},{HEIGHT - 2 - (y - low) * up:.0f}" for x, y in thin)
    return {"name": name.replace("_", " "), "path": path, "low": low, "high": high, "x0": x0, "x1": x1, "last": ys[-1]}


def shape(value):
    """What a nested value of a result is, in words.

    >>> shape([[1.0, 2.0], [3.0, 4.0]]), shape([{"a": 1}]), shape({"a": 1, "b": 2})
    ('2 × 2 numbers', 'list of 1, each with a', 'a, b')
    """
    if isinstance(value, dict):
        return ", ".join(value)
    sizes = []
    while isinstance(value, list) and value:
        sizes.append(len(value))
        value = value[0]
    if isinstance(value, dict):
        return f"list of {sizes[0]}, each with {', '.join(value)}"
    return f"{' × '.join(map(str, sizes)) or 'no'} {'words' if isinstance(value, str) else 'numbers'}"


def figure(value):
    """A number with as many digits as one reads.

    >>> figure(0.123456789), figure(28080), figure(28080.0), figure(True), figure("cpu")
    ('0.12346', '28,080', '28,080', 'True', 'cpu')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown(value)
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.5g}"


TEMPLATES.filters |= {"figure": figure, "duration": duration}


def page(record, readers, address):
    """The HTML of one record's page; `readers` are the claims that read it, `address` is that of the repository."""
    result = record["result"]
    final = result.get("final") if isinstance(result.get("final"), dict) else {}
    drawn = [c for name, points in curves(record).items() if name != "lr" and (c := chart(name, points))]
    plain = {k: v for k, v in result.items() if isinstance(v, str | int | float)}
    rest = {k: shape(v) for k, v in result.items() if k not in plain and k != "final"}
    return TEMPLATES.get_template("record.html").render(
        record=record,
        final={k: v for k, v in final.items() if isinstance(v, int | float)},
        charts=drawn[:CHARTS],
        left_out=max(0, len(drawn) - CHARTS),
        plain=plain,
        rest=rest,
        size=(WIDTH, HEIGHT),
        readers=[(claim, evidence.anchor(claim)) for claim in readers[:READERS]],
        more=max(0, len(readers) - READERS),
        address=address,
        up="../../",
        ledger=LEDGER,
    )


def listing(title, records, **more):
    """The HTML of a list of records: their scores, and the settings in which they differ."""
    names = differing([r["config"] for r in records])
    told = list(dict.fromkeys(name for r in records for name in scores(r)))
    rows = [
        {
            "page": evidence.page(r),
            "key": r["key"],
            "experiment": r["experiment"],
            "settings": [shown(r["config"].get(name)) for name in names],
            "scores": [scores(r).get(name) for name in told],
            "seconds": r["wall_s"],
            "date": r["provenance"]["finished"][:10],
        }
        for r in records
    ]
    shared = [name for name in records[0]["config"] if name not in names]
    return TEMPLATES.get_template("records.html").render(
        title=title,
        rows=rows,
        names=names,
        told=told,
        shared=called(records[0]["config"], shared) if len(records) > 1 else "",
        up="../../",
        ledger=LEDGER,
        **more,
    )


def experiments():
    """The names of the folders of records."""
    return sorted(folder.name for folder in RESULTS.iterdir() if folder.is_dir() and any(folder.glob("*.json")))


def put(file, text):
    """Write a page, its folder first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def write(app, error):
    """All pages of records, after a build that went well."""
    if error is not None or app.builder.format != "html":
        return
    out, readers = Path(app.outdir), evidence.read_by()
    shutil.rmtree(out / "records", ignore_errors=True)
    for experiment in experiments():
        records = evidence.every(experiment)
        for record in records:
            put(out / evidence.page(record), page(record, readers.get(record["key"], []), repository(app.config)))
        about = {"claim": None, "queries": [(f"all records of {experiment}", f"python -m flatlab runs {experiment}")]}
        put(out / "records" / experiment / "index.html", listing(f"Records of {experiment}", records, **about))
    claims = {claim["id"]: claim for claim in ledger.claims()}
    for claim, read in evidence.findings().items():
        if len(read) > 1:
            queries = [(str(query), evidence.command(query)) for query in evidence.queries(read)]
            about = {"claim": claims[claim] | {"anchor": evidence.anchor(claim)}, "queries": queries}
            put(out / evidence.address(claim, read), listing(f"What was read for {claim}", read, **about))


def linked(body, up, there):
    """A page's HTML with the records that its figures name, and that are `there`, as links; `up` leads to the site's root.

    >>> linked("Record train/0123456789ab: data mnist", "../../", {"0123456789ab"})
    'Record <a href="../../records/train/0123456789ab.html">train/0123456789ab</a>: data mnist'
    """

    def link(match):
        before, experiment, key = match.groups()
        return f'{before}<a href="{up}records/{experiment}/{key}.html">{experiment}/{key}</a>' if key in there else match[0]

    return NAMED.sub(link, body)


def link_provenance(app, pagename, templatename, context, doctree):
    """The names of records under a page's figures become links."""
    if 'class="provenance"' in context.get("body", ""):
        there = {file.stem for file in RESULTS.rglob("*.json")}
        context["body"] = linked(context["body"], "../" * pagename.count("/"), there)


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", link_provenance)
    app.connect("build-finished", write, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
