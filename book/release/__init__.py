"""The ledger and the records for machines: `python -m book.release --out dist`, or `make release`.

| file | what it holds |
|---|---|
| `claims.json`, `claims.schema.json` | the ledger, and its JSON Schema |
| `records/EXPERIMENT/KEY.json` | the records as they are |
| `records.csv`, `records.schema.json` | a row a record: settings, scores, provenance; the JSON Schema of a row |
| `ro-crate-metadata.json` | each run as an action with its program and its result: RO-Crate, Process Run profile |
| `croissant.json` | the table as a data set: Croissant |
| `codemeta.json` | the software: CodeMeta |
| `SHA256SUMS` | checksums of all files, for `sha256sum --check` |

The same ledger and records give the same files, to the byte.
"""
