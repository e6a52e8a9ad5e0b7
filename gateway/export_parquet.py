"""Exports into Apache Parquet, by pyarrow (the extra suuaba[parquet]), one row group at a time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError
from gateway.export_rows import COLUMNS, Site, Stamps, cells, records
from gateway.export_source import Source, Span, Versions

if TYPE_CHECKING:
    from gateway.export import Wish

ROWS = 65_536
_NUMBERS = {"raw", "value", "mean", "minimum", "maximum", "corrected"}
_WHOLE = {"flag", "calibration", "seq", "used", "expected", "revision", "version"}


def needed() -> None:
    """Raises ConfigError where pyarrow is missing."""
    try:
        import pyarrow.parquet  # noqa: F401  only whether it is there
    except ImportError:
        raise ConfigError(
            ["--format parquet: pyarrow is not installed; pipx inject suuaba pyarrow, or use csv"]
        ) from None


def write(path: Path, source: Source, span: Span, wanted: Wish, site: Site, versions: Versions) -> int:
    """Write the file; gives the rows. Raises OSError, JournalError."""
    import pyarrow
    from pyarrow import parquet

    from gateway.export import whole

    names = COLUMNS[wanted.what]
    kinds: dict[str, Any] = {}
    for name in names:
        if name.endswith("_utc"):
            kinds[name] = pyarrow.timestamp("ms", tz="UTC")
        elif name in _NUMBERS:
            kinds[name] = pyarrow.float64()
        else:
            kinds[name] = pyarrow.int64() if name in _WHOLE else pyarrow.string()
    schema = pyarrow.schema([(name, kinds[name]) for name in names])
    stamps, count = Stamps(site.timezone), 0
    utc = [name.endswith("_utc") for name in names]
    with whole(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        rows: list[tuple[Any, ...]] = []

        def put() -> None:
            columns = [
                [datetime.fromisoformat(row[i]) for row in rows] if utc[i] else [row[i] for row in rows]
                for i in range(len(names))
            ]
            arrays = [pyarrow.array(c, kinds[name]) for c, name in zip(columns, names, strict=True)]
            writer.write_table(pyarrow.table(arrays, schema=schema))

        for record in records(source, span, wanted.what, wanted.sensors):
            rows += cells(record, stamps, versions)
            if len(rows) >= ROWS:
                put()
                count += len(rows)
                rows = []
        put()
        count += len(rows)
    return count
