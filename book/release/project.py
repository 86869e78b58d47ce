"""What the project says of itself, from the files that say it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

__all__ = ["DATA_LICENSE", "ROOT", "about", "codemeta", "repository"]

ROOT = Path(__file__).parents[2]
DATA_LICENSE = "https://creativecommons.org/licenses/by/4.0/"
"""Of ledger and records; the code has its own."""


@cache
def about() -> dict[str, Any]:
    """The citation: title, version, date, authors, keywords."""
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


@cache
def repository() -> str:
    """The address of the repository."""
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def codemeta() -> dict[str, Any]:
    """The software, in the terms of CodeMeta 3.0 (https://w3id.org/codemeta/3.0)."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = about()
    return {
        "@context": "https://w3id.org/codemeta/3.0",
        "type": "SoftwareSourceCode",
        "name": package["name"],
        "description": package["description"],
        "version": package["version"],
        "license": f"https://spdx.org/licenses/{package['license']}",
        "codeRepository": repository(),
        "datePublished": str(cited["date-released"]),
        "keywords": cited["keywords"],
        "programmingLanguage": "Python",
        "runtimePlatform": f"Python {package['requires-python']}",
        "softwareRequirements": package["dependencies"],
        "author": [{"type": "Organization", "name": author["name"]} for author in cited["authors"]],
    }
