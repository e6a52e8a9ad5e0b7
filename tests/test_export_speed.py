"""The short ways of reports and exports say what the long ones say: times by the quarter of an hour, numbers
of many readings at once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.export_rows import Stamps
from gateway.report_columns import Shapes, shape, values_of

encode = msgspec.json.encode
ZONES = ("Asia/Bishkek", "Asia/Kathmandu", "Europe/Berlin", "Australia/Lord_Howe", "UTC")


def asked(utc_ms: int, zone: str) -> tuple[str, str]:
    """As the calendar says it, millisecond by millisecond."""
    at = datetime.fromtimestamp(utc_ms // 1000, UTC).replace(microsecond=utc_ms % 1000 * 1000)
    local = at.astimezone(ZoneInfo(zone)).isoformat(timespec="milliseconds")
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), local


@pytest.mark.parametrize("zone", ZONES)
def test_times_are_the_calendars(zone: str) -> None:
    stamps = Stamps(zone)
    nights = [datetime(2026, m, d, tzinfo=UTC) for m, d in ((3, 29), (4, 4), (10, 3), (10, 25), (12, 31))]
    for night in nights:  # clocks are moved in some of them: by half an hour on Lord Howe
        begin_ms = round(night.timestamp() * 1000)
        for ms in range(begin_ms, begin_ms + 86_400_000, 419_999):
            assert stamps.both(ms) == asked(ms, zone)
    for ms in (0, 1, 59_999, 60_000, 899_999, 900_000, 2**41):
        assert stamps.both(ms) == asked(ms, zone)


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(float)
texts = st.text(st.sampled_from('ab ,"\\\n[]{}:1é'), max_size=5)
parts = st.tuples(
    numbers, numbers, st.sampled_from(["pH", "NTU", 'a"],"b":[']), st.sampled_from([1, 2, 4]), texts
)
of_one = st.dictionaries(st.sampled_from(["ph", "ph2", "pm2_5"]), parts, max_size=3)
alike = st.tuples(of_one, st.lists(st.lists(numbers, min_size=6, max_size=6), max_size=5)).map(
    lambda given: [
        given[0],
        *(
            {name: (row[2 * i], row[2 * i + 1], *rest[2:]) for i, (name, rest) in enumerate(given[0].items())}
            for row in given[1]
        ),
    ]
)


def columns(rows: list[dict[str, Any]], shapes: Shapes | None = None) -> Any:
    return (shapes or Shapes()).columns("x", [msgspec.Raw(encode(row)) for row in rows])


@settings(deadline=None, derandomize=True, max_examples=200)
@given(alike | st.lists(of_one, min_size=1, max_size=4))
def test_columns_are_the_readings_numbers(rows: list[dict[str, Any]]) -> None:
    found = columns(rows)
    about = [(name, *given[2:]) for name, given in rows[0].items()]
    same = all([(name, *given[2:]) for name, given in row.items()] == about for row in rows)
    if found is None:
        assert not same or not about, "readings that are alike are taken at once"
        return
    assert same
    assert list(found[0].quantities) == about
    for i, (name, *_) in enumerate(about):
        raws, values = found[1][i]
        assert (raws, values) == ([row[name][0] for row in rows], [row[name][1] for row in rows])


@pytest.mark.parametrize(
    "odd",
    [
        b'{"ph":[7.1,7.2,"pH",3,""]}', b'{"ph":[7.1,7.2,"pH",1,"spike"]}', b'{"ph":[7.1,7.2,"pH",1]}', b"{}",
        b'{"ph":[7.1,null,"pH",1,""]}', b'{"ph":[7.1,"7","pH",1,""]}', b'{"ph":[1e999,7.2,"pH",1,""]}',
        b'{"ph":[7.1,7.2,"pH",1,""],"t":[1.0,1.0,"degC",1,""]}', b'{"ph":[7.1,7.2,7.3,"pH",1,""]}',
        b'{"orp":[7.1,7.2,"pH",1,""]}',
    ],
)  # fmt: skip
def test_what_is_not_alike_is_read_one_by_one(odd: bytes) -> None:
    plain, shapes = b'{"ph":[7.0,7.25,"pH",1,""]}', Shapes()
    found = shapes.columns("ph1", [msgspec.Raw(plain)] * 3)
    assert found is not None
    assert found[1] == [([7.0] * 3, [7.25] * 3)]
    for rows in ([plain, odd], [odd, plain], [plain, odd, plain]):
        assert shapes.columns("ph1", [msgspec.Raw(row) for row in rows]) is None
    assert shape(msgspec.Raw(b"{}")) is None
    assert values_of.decode(plain) == {"ph": (7.0, 7.25, "pH", 1, "")}
