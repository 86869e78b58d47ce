"""A chapter is run again when the code or the records behind it have changed, not only when its own text has."""

import hashlib
import shutil
from pathlib import Path

BEHIND = ("flatlab", "toy_problems", "book")
APART = (".md", ".toml", ".yml")  # a chapter's own text, and what no cell reads


def digest(root: Path) -> str:
    """SHA-256 over all that the chapters' cells can import or read."""
    total = hashlib.sha256()
    files = [f for folder in BEHIND for f in (root / folder).rglob("*") if f.is_file() and f.suffix not in APART]
    files = [f for f in files if not {"__pycache__", "_ext", "_static"} & set(f.relative_to(root).parts)]
    for file in sorted(files):
        total.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def outdated(app, env, added, changed, removed):
    """The pages to read again; the cache of their outputs is emptied first."""
    mark, now = Path(app.outdir).parent / "code.sha256", digest(Path(app.srcdir))
    if mark.exists() and mark.read_text() == now:
        return []
    shutil.rmtree(Path(app.outdir).parent / ".jupyter_cache", ignore_errors=True)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(now)
    return [name for name in env.found_docs if "{code-cell}" in Path(env.doc2path(name)).read_text()]


def setup(app):
    """Register with Sphinx."""
    app.connect("env-get-outdated", outdated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
