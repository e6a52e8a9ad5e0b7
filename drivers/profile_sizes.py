"""What of a profile's format is wanted while instruments are read, where pydantic, its checker, is not."""

from __future__ import annotations

SIZES = {
    "int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4,
    "first-byte": 1, "second-byte": 1,
}  # fmt: skip
"""Registers that each number format takes."""
