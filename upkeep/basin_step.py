"""Assemble the WebAssembly of the basin map: `python -m upkeep.basin_step`."""

from pathlib import Path

from wasmtime import wat2wasm

SOURCE = Path(__file__).parents[1] / "toy_problems" / "lucchi" / "basin_step.wat"


def assembled() -> bytes:
    """The binary of the source as it stands."""
    return bytes(wat2wasm(SOURCE.read_text()))


if __name__ == "__main__":
    SOURCE.with_suffix(".wasm").write_bytes(assembled())
