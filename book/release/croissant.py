"""The table of records as a data set for machine learning: Croissant 1.0."""

from __future__ import annotations

from typing import Any

from book.release.project import DATA_LICENSE, about, repository

__all__ = ["croissant"]

OF_CROISSANT = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset jsonPath "
    "key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField transform"
)
CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"}, "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
} | {name: f"cr:{name}" for name in OF_CROISSANT.split()}  # fmt: skip
"""As the specification has it, term by term."""
TYPES = {"boolean": "sc:Boolean", "integer": "sc:Integer", "number": "sc:Float", "string": "sc:Text"}


def croissant(columns: dict[str, str], size: int, digest: str) -> dict[str, Any]:
    """The data set whose one table, `records.csv`, has these columns, this many bytes and this SHA-256."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"runs/{name}",
            "name": name,
            "dataType": TYPES[kind],
            "source": {"fileObject": {"@id": "records.csv"}, "extract": {"column": name}},
        }
        for name, kind in columns.items()
    ]
    cited = about()
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": "flatlab_records",
        "description": f"The runs behind {cited['title']}: a row a run, with settings, scores and provenance.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": DATA_LICENSE,
        "url": repository(),
        "version": cited["version"],
        "datePublished": str(cited["date-released"]),
        "creator": {"@type": "sc:Organization", "name": cited["authors"][0]["name"]},
        "citeAs": f"{cited['authors'][0]['name']}. {cited['title']}, version {cited['version']}. {repository()}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "records.csv",
                "name": "records.csv",
                "contentUrl": "records.csv",
                "contentSize": f"{size} B",
                "encodingFormat": "text/csv",
                "sha256": digest,
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "runs", "name": "runs", "field": fields}],
    }
