"""Corrections that came later: in every export beside the value of the day, and in the evidence pack."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import verify
from gateway.calibration import Version
from gateway.evidence_check import pack
from gateway.export_source import corrections, remembered
from gateway.journal_blocks import Reader
from gateway.model import Body, Event, Reading, Value
from tests.exports import START_MS, keep, ph, stamp, suuaba, table

DRIFT = Version(5, "ph1", "ph", "drift", START_MS, START_MS + 100_000, fouling=1.0)
SHIFT = Version(6, "ph1", "ph", "offset", START_MS + 100_000, offset=2.0)


def old(second: float) -> Reading:
    """Of a sensor that is in station.toml no more."""
    return Reading("old1", "x", "water", stamp(second), {"level": Value(1.5, 1.5, "m", 1)})


def said(second: float, what: str, detail: Any) -> Event:
    return Event(stamp(second), what, detail)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Readings of pH 7 (value 7.25, version 4) at 0 s … 90 s; a visit; then one with version 4 and 6."""
    monkeypatch.chdir(tmp_path)
    first: list[Body] = [ph(s, 7.0) for s in range(0, 100, 10)]
    visit: list[Body] = [
        said(100, "correction", msgspec.to_builtins(DRIFT)),
        said(100, "correction", msgspec.to_builtins(SHIFT)),
        said(100, "calibrated", {"sensor": "ph1", "number": 6}),
        said(101, "calibration_due", {"sensor": "ph1"}),
        said(102, "slope_low", {"sensor": "ph1"}),
        said(103, "sensor_changed", {"sensor": "ph1"}),
    ]
    late = msgspec.structs.replace(ph(120, 7.0), calibration=6)
    keep(tmp_path, [first, [old(95)], visit, [ph(110, 7.0), late]])
    return tmp_path


def test_raw_the_value_of_the_day_and_what_counts_now(place: Path) -> None:
    assert suuaba("--sensor", "ph1", "--output", "a.csv") == 0
    rows = table(place / "a.csv")
    assert [(row["raw"], row["value"], row["calibration"]) for row in rows[:11]] == [
        ("7.0", "7.25", "4")
    ] * 11
    assert [float(row["corrected"]) for row in rows[:10]] == pytest.approx([7.25 + i / 10 for i in range(10)])
    assert [row["version"] for row in rows] == ["5"] * 10 + ["6", ""]
    assert (rows[10]["corrected"], rows[11]["corrected"]) == ("9.0", "")


def test_in_json_and_in_parquet(place: Path) -> None:
    shapes = {}
    for shape in ("plain", "sensorthings"):
        wanted = ["--sensor", "ph1", "--format", "jsonl", "--shape", shape, "--output", shape]
        assert suuaba(*wanted) == 0
        shapes[shape] = [json.loads(line) for line in (place / shape).read_text().splitlines()]
    assert shapes["plain"][5]["values"]["ph"] | {"why": 0} == {
        "raw": 7.0, "value": 7.25, "unit": "pH", "flag": 1, "why": 0, "corrected": 7.75, "version": 5,
    }  # fmt: skip
    assert "corrected" not in shapes["plain"][11]["values"]["ph"]
    thing = shapes["sensorthings"][5]
    assert thing["result"] == 7.75
    assert {k: thing["parameters"][k] for k in ("raw", "value", "calibration", "version")} == {
        "raw": 7.0, "value": 7.25, "calibration": 4, "version": 5,
    }  # fmt: skip
    assert shapes["sensorthings"][11]["result"] == 7.25
    parquet = pytest.importorskip("pyarrow.parquet")
    assert suuaba("--sensor", "ph1", "--format", "parquet", "--output", "a.parquet") == 0
    rows = parquet.read_table(place / "a.parquet").to_pylist()
    assert (rows[5]["corrected"], rows[5]["version"], rows[11]["version"]) == (7.75, 5, None)


def test_a_pack_reaches_to_the_visit_that_corrects_its_span(place: Path) -> None:
    """Here within the 25 h that a pack looks ahead for verdicts; for later ones see below."""
    assert suuaba("--evidence", "--to", "2026-11-23T10:00:50Z", "--output", "p.zip") == 0
    with zipfile.ZipFile(place / "p.zip") as opened:
        lines = opened.read("data/readings.csv").decode().splitlines()
        told = opened.read("data/calibrations.csv").decode()
    assert len(lines) == 6
    assert lines[-1].endswith(",7.65,5")
    assert not told.count("sensor_changed"), "behind the span"
    found = pack(place / "p.zip", verify.trusted([str(place / "data" / "station.pub")], None))
    assert found.wrong == []


def test_the_ledgers_table_has_all_that_was_said(place: Path) -> None:
    assert suuaba("--evidence", "--output", "p.zip") == 0
    with zipfile.ZipFile(place / "p.zip") as opened:
        told = opened.read("data/calibrations.csv").decode()
    whats = [line.split(",")[3] for line in told.splitlines()[1:]]
    assert whats == [
        "correction", "correction", "calibrated", "calibration_due", "slope_low", "sensor_changed",
    ]  # fmt: skip
    assert pack(place / "p.zip", verify.trusted([str(place / "data" / "station.pub")], None)).wrong == []


def test_a_sensor_that_was_removed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suuaba("--sensor", "old1", "--output", "o.csv") == 0
    assert [row["sensor"] for row in table(place / "o.csv")] == ["old1"]
    assert suuaba("--sensor", "old2", "--output", "n.csv") == 2
    assert "there is no such sensor" in capsys.readouterr().err


def test_what_the_station_remembers_is_what_its_blocks_tell(place: Path) -> None:
    with Reader(place / "data") as reader:
        told = corrections(reader)
    assert told == {"ph1": [DRIFT, SHIFT]}
    state = json.dumps({"sensors": {"ph1": {"number": 6, "versions": msgspec.to_builtins([DRIFT])}}})
    line = msgspec.json.encode([9, said(0, "correction", msgspec.to_builtins(SHIFT))])
    assert remembered(state, [line, line]) == told
    assert remembered("{", []) == {}
    assert remembered("{}", [b'[1,{"what":"correction","detail":5}]']) == {}


def test_a_pack_goes_on_to_a_visit_days_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    day = 86_400
    long = Version(5, "ph1", "ph", "drift", START_MS, START_MS + 9 * day * 1000, fouling=1.0)
    days: list[list[Body]] = [[ph(n * day + s, 7.0) for s in (0, 10)] for n in range(9)]
    last: list[Body] = [said(9 * day, "correction", msgspec.to_builtins(long))]
    later: list[Body] = [ph(20 * day, 7.0)]
    keep(tmp_path, [*days, last, later])
    assert suuaba("--evidence", "--to", "2026-11-23T12:00:00Z", "--output", "p.zip") == 0
    with zipfile.ZipFile(tmp_path / "p.zip") as opened:
        rows = opened.read("data/readings.csv").decode().splitlines()
        blocks = opened.read("chain/blocks.jsonl").decode().splitlines()
    assert [row.rpartition(",")[2] for row in rows[1:]] == ["5", "5"]
    assert len(blocks) == 10 + 1, "the key's block or the first, nine days, the visit; not what is behind it"
    trusted = verify.trusted([str(tmp_path / "data" / "station.pub")], None)
    assert pack(tmp_path / "p.zip", trusted).wrong == []
