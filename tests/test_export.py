"""Exports: every row is what the journal says, as it is known now; packs prove themselves."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import cli
from gateway.evidence_config import without_secrets
from gateway.export import instant
from gateway.export_rows import Site, Stamps, _quickly, _slowly, cells, csv_text, safe
from gateway.export_source import Piece, Span, Times
from gateway.journal import Journal, _line
from gateway.journal_store import Block
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from tests.journals import FixedClock

START_MS = 1_795_428_000_000  # 2026-11-23T10:00Z
TOML = """
[station]
id = "kyia"
name = "Kanysh-Kyia"
timezone = "Asia/Bishkek"
language = "{language}"
latitude = 41.7
longitude = 71.6
data = "data"

[[sensor]]
id = "ph1"
port = "/dev/ttyUSB0"
model = "yosemitech-y532"
address = 1

[[sensor]]
id = "dust1"
port = "/dev/ttyUSB1"
model = "plantower"
"""
FOREVER = Span(0, 1 << 60)
SITE = Site("kyia", "Kanysh-Kyia", "Asia/Bishkek", 41.7, 71.6)


def stamp(second: float, *, boot: str = "boot0001", synced: bool = True, off_ms: int = 0) -> Stamp:
    ms = round(second * 1000)
    return Stamp(START_MS + ms + off_ms, boot, 1_000_000 + ms, synced)


def ph(second: float, number: float, **about: Any) -> Reading:
    return Reading(
        "ph1", "y532", "water", stamp(second, **about), {"ph": Value(number, number + 0.25, "pH", 1)}, 4
    )


def dust(second: float, number: float) -> Reading:
    values = {q: Value(number + i, number + i, "ug/m3", 1) for i, q in enumerate(("pm2_5", "pm10"))}
    return Reading("dust1", "plantower", "air", stamp(second), values)


def flagged(second: float, seq: int) -> Event:
    detail = {"sensor": "ph1", "medium": "water", "quantity": "ph", "seq": seq, "time_ms": 0, "raw": 1.0, "unit": "pH",  # noqa: E501  a table
              "flag": 4, "why": "spike", "before": 1}  # fmt: skip
    return Event(stamp(second), "flagged", detail)


def average(second: float) -> Average:
    means = {
        "pm2_5": Mean(11.5, 10.0, 13.0, 55, 60, "ug/m3", 1),
        "pm10": Mean(None, None, None, 0, 60, "ug/m3", 9, "none"),
    }
    return Average(
        "dust1", "plantower", "air", stamp(second), START_MS + int((second - 60) * 1000), 60, means
    )


def keep(folder: Path, groups: Sequence[Sequence[Body]], *, tail: Sequence[Body] = ()) -> None:
    """A journal with these blocks; what is in the tail stays there."""

    async def job() -> None:
        journal = Journal(folder / "data", FixedClock(), make_key=True)
        await journal.open()
        for group in groups:
            journal.append(group)
            assert await journal._settle()
        if tail:
            journal.append(tail)
            await journal.sync()
            await journal._in_thread(journal._disk.close)
            journal._thread.shutdown()
        else:
            await journal.close()

    (folder / "station.toml").write_text(TOML.format(language="ru"), encoding="utf-8")
    asyncio.run(job())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seq 1 says of the key; 2…21 readings, the 5th is a spike; then averages; the tail has two."""
    first = [b for s in range(0, 100, 10) for b in (ph(s, 7 + s / 1000), dust(s, 10.0))]
    second = [
        flagged(101, 6),
        average(120),
        Event(stamp(121), "missed", {"sensor": "ph1", "why": "no answer"}),
    ]
    keep(tmp_path, [first, second], tail=[ph(130, 7.5), dust(130, 12.0)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def suuaba(*arguments: str) -> int:
    return cli.main(["export", "station.toml", *arguments])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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


# ── the short way and the long way ──────────────────────────────────────────────────────────────────

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


# ── what was learned later ──────────────────────────────────────────────────────────────────────────


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


# ── files and people ────────────────────────────────────────────────────────────────────────────────


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


# ── evidence packs ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def pack(place: Path) -> Path:
    assert suuaba("--evidence", "--output", "pack.zip") == 0
    return place / "pack.zip"


def verify(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main(["verify", str(path), *more])
    return code, capsys.readouterr().out


def changed(pack: Path, name: str, edit: Any) -> Path:
    """The pack with one file edited, and everything else as it was; None takes it out."""
    other = pack.with_name("forged.zip")
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(other, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == name:
                data = edit(data)
            if data is not None:
                new.writestr(info, data)
        if name not in old.namelist():
            new.writestr(name, edit(b""))
    return other


def test_a_pack_proves_itself(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["unzip", "-tq", pack], check=True, capture_output=True, timeout=30)
    code, out = verify(pack, capsys, "--key", str(pack.parent / "data" / "station.pub"))
    assert (code, "WRONG" in out) == (0, False), out
    with zipfile.ZipFile(pack) as opened:
        rows = list(csv.DictReader(opened.read("data/readings.csv").decode().splitlines()))
        assert len(rows) == 30  # the tail is in no block yet
        assert [r["seq"] for r in rows if r["flag"] == "4"] == ["6"]
        [gap] = csv.DictReader(opened.read("data/gaps.csv").decode().splitlines())
        assert gap["what"] == "missed"
        page = opened.read("index.html").decode()
        assert 'lang="ru"' in page
        assert "Пакет доказательств" in page


def bit(at: int) -> Any:
    return lambda data: data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def lines(keep_line: Any) -> Any:
    return lambda data: b"".join(
        line for i, line in enumerate(data.splitlines(keepends=True)) if keep_line(i)
    )


PACK_FORGERIES = {
    "a value": ("data/readings.csv", lambda d: d.replace(b",7.03,", b",7.93,"), "data/readings.csv: line 11 is not"),  # noqa: E501  a table
    "a flag": ("data/readings.csv", lambda d: d.replace(b',4,"spike"', b',1,""'), "data/readings.csv: line 8 is not"),  # noqa: E501  a table
    "a row removed": ("data/readings.csv", lines(lambda i: i != 5), "data/readings.csv: line 6 is not"),
    "the last row removed": ("data/readings.csv", lines(lambda i: i != 30), "data/readings.csv: line 31 is not"),  # noqa: E501  a table
    "a row added": ("data/readings.csv", lambda d: d + d.splitlines(keepends=True)[-1], "data/readings.csv: line 32 is not"),  # noqa: E501  a table
    "a gap removed": ("data/gaps.csv", lines(lambda i: i == 0), "data/gaps.csv: line 2 is not"),
    "a bit of a block": ("chain/blocks.bin", bit(300), "block 2, seq 2 to 21"),
    "a block removed": ("chain/blocks.jsonl", lines(lambda i: i != 1), "does not fit"),
    "a number": ("chain/blocks.jsonl", lambda d: d.replace(b'"records": 20', b'"records": 21'), "block 2, seq 2 to 21"),  # noqa: E501  a table
    "a file added": ("data/more.csv", lambda d: b"x", "data/more.csv: is no part"),
    "the page": ("index.html", lambda d: d.replace(b"kyia", b"kyja"), "index.html: was changed"),
    "the key": ("chain/station.pub", lambda d: d[:40] + b"A" + d[41:], "chain/station.pub: is not the key"),
    "a table gone": ("data/events.csv", lambda d: None, "data/events.csv: is missing"),
    "rubbish": ("manifest.json", lambda d: b"{", "is no whole evidence pack"),
}  # fmt: skip


@pytest.mark.parametrize("name", PACK_FORGERIES)
def test_a_forged_pack_is_found_and_named(pack: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, edit, said = PACK_FORGERIES[name]
    code, out = verify(changed(pack, file, edit), capsys)
    assert code == 1
    assert said in out.splitlines()[0]


def test_a_pack_signed_anew_needs_the_key(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another station's pack with this one's name: sound in itself, and not by this key."""
    other = pack.parent / "other"
    other.mkdir()
    keep(other, [[ph(0, 9.9)]])
    code, out = verify(pack, capsys, "--key", str(other / "data" / "station.pub"))
    assert code == 1
    assert "which is none that you named" in out


@pytest.mark.parametrize("cut", [0, 10, 500, -30])
def test_a_torn_pack_is_one_line(pack: Path, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    torn = pack.with_name("torn.zip")
    torn.write_bytes(pack.read_bytes()[:cut])
    code, out = verify(torn, capsys)
    assert code == 1
    assert "is no whole evidence pack" in out


def test_the_configuration_is_journaled_without_secrets() -> None:
    text = without_secrets(
        'password = "hush"\nurl = "mqtt://me:hush@host:1"\ntoken = \'hush\'\n[[contact]]\nphone = "+996555000001"\n'  # noqa: E501  a table
        'pin = { file = "duty.pin" }\nwifi_password = "hush"\na = { password = "hush", b = 1 }\nabove = 50\n'
    )
    assert "hush" not in text
    assert "+996" not in text
    assert "above = 50" in text
    assert 'file = "duty.pin"' in text
