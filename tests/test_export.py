"""Exports: every row is what the journal says, as it is known now; files and people."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway import cli
from gateway.export import instant
from gateway.export_rows import csv_text
from gateway.journal import Journal
from gateway.model import Event
from tests.exports import (
    FOREVER,
    SITE,
    START_MS,
    dust,
    keep,
    ph,
    some_of_all,
    stamp,
    suuaba,
    table,
)
from tests.journals import FixedClock


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return some_of_all(tmp_path)


def test_a_csv_has_every_reading_as_it_is_known_now(place: Path) -> None:
    assert suuaba("--output", "a.csv") == 0
    rows = table(place / "a.csv")
    assert len(rows) == 10 + 20 + 3
    assert rows[0] == {
        "time_utc": "2026-11-23T10:00:00.000Z", "time_local": "2026-11-23T16:00:00.000+06:00", "clock": "synced",  # noqa: E501  a table
        "sensor": "ph1", "medium": "water", "quantity": "ph", "raw": "7.0", "value": "7.25", "unit": "pH", "flag": "1",  # noqa: E501  a table
        "why": "", "calibration": "4", "seq": "2", "corrected": "", "version": "",
    }  # fmt: skip
    assert [row["quantity"] for row in rows[1:3]] == ["pm2_5", "pm10"]
    [spike] = [row for row in rows if row["flag"] == "4"]
    assert (spike["seq"], spike["why"], spike["raw"]) == ("6", "spike", "7.02")
    assert [row["seq"] for row in rows[-3:]] == ["25", "26", "26"]  # from the tail
    assert [float(r["raw"]) for r in rows if r["sensor"] == "ph1"][:3] == [7.0, 7.01, 7.02]


def test_span_and_sensor(place: Path) -> None:
    assert (
        suuaba(
            "--from",
            "2026-11-23 16:00:20",
            "--to",
            "2026-11-23T10:00:50Z",
            "--sensor",
            "ph1",
            "--output",
            "a.csv",
        )
        == 0
    )
    assert [row["time_utc"][17:19] for row in table(place / "a.csv")] == ["20", "30", "40"]
    assert suuaba("--from", "2026-11-23", "--to", "2026-11-23", "--output", "day.csv") == 0
    assert len(table(place / "day.csv")) == 33  # a date alone as the end takes the whole day


def test_averages_and_events(place: Path) -> None:
    assert suuaba("--what", "averages", "--output", "a.csv") == 0
    [good, empty] = table(place / "a.csv")
    assert (good["from_utc"], good["mean"], good["used"], good["expected"]) == (
        "2026-11-23T10:01:00.000Z",
        "11.5",
        "55",
        "60",
    )
    assert (empty["mean"], empty["flag"]) == ("", "9")
    assert suuaba("--what", "events", "--output", "e.csv") == 0
    events = table(place / "e.csv")
    assert [e["what"] for e in events] == ["flagged", "missed"] or "chain_key" in [e["what"] for e in events]
    assert json.loads(events[-1]["detail"])["why"] == "no answer"


def test_json_lines(place: Path) -> None:
    assert suuaba("--format", "jsonl", "--output", "a.jsonl") == 0
    lines = [json.loads(line) for line in (place / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 22
    assert lines[4]["values"]["ph"] == {"raw": 7.02, "value": 7.27, "unit": "pH", "flag": 4, "why": "spike"}


def test_sensorthings_observations(place: Path) -> None:
    """As OGC 18-088, table 12, has an Observation."""
    assert suuaba("--format", "jsonl", "--shape", "sensorthings", "--output", "a.jsonl") == 0
    lines = [json.loads(line) for line in (place / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 33
    for line in lines:
        assert set(line) == {
            "phenomenonTime",
            "resultTime",
            "result",
            "resultQuality",
            "parameters",
            "Datastream",
        }
        datetime.fromisoformat(line["phenomenonTime"])
    assert lines[0]["Datastream"]["name"] == "kyia/ph1/ph/reading"
    assert (
        suuaba("--format", "jsonl", "--shape", "sensorthings", "--what", "averages", "--output", "b.jsonl")
        == 0
    )
    [line] = [json.loads(line) for line in (place / "b.jsonl").read_text().splitlines()]
    begin, end = line["phenomenonTime"].split("/")
    assert datetime.fromisoformat(end) > datetime.fromisoformat(begin)


OPENAQ: dict[str, Any] = {  # what openaq-fetch's measurement schema demands, in short
    "type": "object",
    "required": ["location", "parameter", "unit", "value", "date", "sourceName", "sourceType", "mobile"],
    "additionalProperties": False,
    "properties": {
        "location": {"type": "string", "minLength": 1},
        "parameter": {"enum": ["pm25", "pm10", "no2", "so2", "o3", "co", "bc", "no", "nox", "pm1"]},
        "unit": {"enum": ["µg/m³", "ppm", "ppb"]},
        "value": {"type": "number"},
        "averagingPeriod": {"required": ["value", "unit"], "properties": {"unit": {"enum": ["hours"]}}},
        "attribution": {"items": {"required": ["name"]}},
        "coordinates": {"required": ["latitude", "longitude"]},
        "date": {
            "required": ["utc", "local"],
            "properties": {"local": {"pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\+|-)\d{2}:\d{2}$"}},
        },
        "sourceName": {"type": "string", "minLength": 1},
        "sourceType": {"enum": ["government", "research", "other"]},
        "mobile": {"type": "boolean"},
    },
}


@pytest.mark.parametrize(("what", "count"), [("readings", 22), ("averages", 1)])
def test_openaq_measurements(place: Path, what: str, count: int) -> None:
    assert suuaba("--format", "jsonl", "--shape", "openaq", "--what", what, "--output", "a.jsonl") == 0
    lines = [json.loads(line) for line in (place / "a.jsonl").read_text().splitlines()]
    assert len(lines) == count
    for line in lines:
        jsonschema.validate(line, OPENAQ)


def test_parquet(place: Path) -> None:
    from pyarrow import parquet

    assert suuaba("--format", "parquet", "--output", "a.parquet") == 0
    rows = parquet.read_table(place / "a.parquet").to_pylist()
    assert len(rows) == 33
    assert rows[0]["time_utc"] == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert (rows[0]["raw"], rows[0]["value"], rows[0]["flag"], rows[0]["seq"]) == (7.0, 7.25, 1, 2)


def test_readings_of_an_unsure_clock_get_their_true_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stamped a year too early; the clock is set two blocks later; and a boot that nobody ever dated."""
    year_ms = -365 * 86_400_000
    dark = [ph(s, 6.0, boot="boot0000", synced=False, off_ms=year_ms) for s in (-900, -890)]
    unsure = [ph(s, 7.0, synced=False, off_ms=year_ms) for s in (0, 10, 20)]
    news = Event(stamp(30), "clock_set", {"boot": "boot0001", "trust": "dated", "uncertainty_ms": 50,
                                          "offset_ms": START_MS - 1_000_000, "was_off_ms": -year_ms})  # fmt: skip  # noqa: E501  a table
    keep(tmp_path, [[ph(-2000, 5.0, boot="boot000a")], dark, unsure, [news, ph(40, 7.1)], [ph(200_000, 7.2)]])
    monkeypatch.chdir(tmp_path)
    assert suuaba("--from", "2026-11-23T10:00:00Z", "--to", "2026-11-23T10:01:00Z", "--output", "a.csv") == 0
    rows = table(tmp_path / "a.csv")
    assert [(r["time_utc"][17:19], r["clock"], r["flag"]) for r in rows] == [
        ("00", "dated", "1"), ("10", "dated", "1"), ("20", "dated", "1"), ("40", "synced", "1"),
    ]  # fmt: skip
    assert suuaba("--output", "b.csv") == 0
    unknown = [r for r in table(tmp_path / "b.csv") if r["clock"] == "unsynced"]
    assert [(r["flag"], r["why"]) for r in unknown] == [("3", "clock")] * 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sensor", "ph2"], "--sensor ph2: there is no such sensor; did you mean ph1?"),
        (["--from", "yesterday"], "--from yesterday: is no time"),
        (["--from", "2026-13-01"], "--from 2026-13-01: is no time"),
        (["--from", "2026-11-24", "--to", "2026-11-22"], "--from is not before --to"),
        (["--from", "2020-01-01", "--to", "2020-02-01"], "it reaches from 20"),
        (["--shape", "openaq"], "is for --format jsonl"),
        (["--format", "parquet", "--output", "-"], "parquet needs a file"),
        (["--output", "station.toml"], "is there already"),
        (["--output", "nowhere/a.csv"], "No such file or directory"),
        (["--evidence", "--sensor", "ph1"], "leave out --sensor"),
    ],
)
def test_bad_input_is_one_line(
    place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert suuaba(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not list(place.glob("*.part"))


def test_without_pyarrow_it_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert suuaba("--format", "parquet", "--output", "a.parquet") == 2
    assert "pyarrow is not installed" in capsys.readouterr().err


def test_times_as_people_write_them() -> None:
    assert instant("2026-11-23", "Asia/Bishkek") == START_MS - 16 * 3_600_000
    assert instant("2026-11-23", "Asia/Bishkek", end=True) == START_MS + 8 * 3_600_000
    assert instant("2026-11-23T10:00:00Z", "Asia/Bishkek") == START_MS
    assert instant("2026-11-23 16:00", "Asia/Bishkek") == START_MS


def test_an_export_that_is_killed_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    keep(tmp_path, [[dust(s + i / 1000, 10.0) for i in range(900)] for s in range(150)])
    command = [
        sys.executable,
        "-m",
        "gateway.cli",
        "export",
        "station.toml",
        "--format",
        "jsonl",
        "--output",
        "a.jsonl",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    )
    deadline_s = time.monotonic() + 30
    while not (tmp_path / "a.jsonl.part").exists() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert (tmp_path / "a.jsonl.part").exists()
    assert not (tmp_path / "a.jsonl").exists()


def test_exporting_while_the_service_writes(tmp_path: Path) -> None:
    """Every record once, in order, whatever is settled meanwhile."""
    from gateway.journal_blocks import Reader

    async def job() -> None:
        journal = Journal(tmp_path / "data", FixedClock(), make_key=True)
        await journal.open()
        said = [ph(s, 7.0) for s in range(400)]
        journal.append(said[:100])
        assert await journal._settle()
        with Reader(tmp_path / "data") as reader:
            seqs: list[int] = []
            for i, (text, _) in enumerate(csv_text(reader, FOREVER, "readings", frozenset(), SITE)):
                seqs += [int(line.rsplit(",", 3)[1]) for line in text.splitlines() if i]
                if 100 + i * 50 < 400 and i < 5:
                    journal.append(said[100 + i * 50 : 150 + i * 50])
                    assert await (journal._settle() if i % 2 else journal._commit(durable=True))
        assert seqs == list(range(2, 2 + len(seqs)))
        assert len(seqs) >= 200
        await journal.close()

    asyncio.run(job())
