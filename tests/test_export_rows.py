"""Rows of an export: the short way writes what the long way writes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.export_rows import Stamps, _quickly, _slowly, cells, safe
from gateway.export_source import Piece, Times
from gateway.journal import _line
from gateway.journal_store import Block
from gateway.model import Reading, Record, Value
from tests.exports import (
    FOREVER,
    stamp,
)

texts = st.text(st.sampled_from('=+-@ab ,;"\\\n\r\t[]{}:é'), max_size=6)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.dictionaries(
    st.sampled_from(["ph", "pm2_5", "orp"]),
    st.builds(Value, floats, floats, texts, st.sampled_from([1, 2, 3, 4]), texts),
    max_size=3,
)
readings = st.builds(
    Reading, st.sampled_from(["ph1", "a_b-c", "x,y", '"q', "=1"]), st.just("m"), st.just("water"),
    st.builds(stamp, st.integers(0, 100)), values, st.integers(0, 9),
)  # fmt: skip


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(readings, max_size=5))
def test_the_short_way_writes_what_the_long_way_writes(bodies: list[Reading]) -> None:
    lines = [_line.encode(Record(i, body)) for i, body in enumerate(bodies, 1)]
    piece, source = Piece(b"\n".join(lines), {}), Nothing([])
    ways = [
        _quickly(piece, FOREVER, frozenset(), Stamps("Asia/Bishkek"), Times(source)),
        _slowly(piece, lines, FOREVER, frozenset(), Stamps("Asia/Bishkek"), Times(source)),
    ]
    assert ways[0] == ways[1]
    rows = list(csv.reader(ways[0][0].splitlines(keepends=True)))
    wanted = [
        [str(safe(cell)) for cell in row] for record in map(Record, range(1, 9), bodies) for row in cells(record, Stamps("Asia/Bishkek"))  # noqa: E501  a table
    ]  # fmt: skip
    assert rows == wanted
    assert ways[0][1] == len(wanted)
    assert not [
        cell for row in rows for cell in (row[3], row[8], row[10]) if cell.startswith(tuple("=+-@\t\r"))
    ]


def test_an_odd_text_behind_a_plain_one_of_the_same_sensor() -> None:
    """What a sensor's first reading in a block is says nothing of its second."""
    bodies = [
        Reading("ph1", "m", "water", stamp(i), {"ph": Value(7.0, 7.0, unit, 3, why)})
        for i, (unit, why) in enumerate([("pH", ""), ("pH", '=1+1;"x"'), ("@a", ""), ("pH", "a\nb")])
    ]
    lines = [_line.encode(Record(i, body)) for i, body in enumerate(bodies, 1)]
    given = Piece(b"\n".join(lines), {}), FOREVER, frozenset[str](), Stamps("UTC"), Times(Nothing([]))
    rows = list(csv.reader(_quickly(*given)[0].splitlines(keepends=True)))
    assert [(row[8], row[10]) for row in rows] == [
        ("pH", ""),
        ("pH", '\'=1+1;"x"'),
        ("'@a", ""),
        ("pH", "a\nb"),
    ]


class Nothing:
    def __init__(self, blocks: list[Block]) -> None:
        self._blocks = blocks

    def places(self) -> Iterator[Any]:
        return iter(())

    def blocks(self, after_seq: int = 0) -> Iterator[Block]:
        return iter(self._blocks)

    def newest(self) -> Sequence[bytes]:
        return ()
