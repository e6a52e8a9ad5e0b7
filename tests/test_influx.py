"""InfluxDB: the line protocol, and each point once in the real database, whatever dies."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.clock import Clock
from gateway.influx import InfluxSink, Lines
from gateway.influx_doors import version1, version2
from gateway.journal import Journal
from gateway.model import Event, Flag, Reading, Record, Value
from tests.influx_points import records, series, stored
from tests.memory_journal import START_MS, MemoryJournal, reading, stamp
from tests.services import InfluxDB, VictoriaMetrics, running
from tests.sinking import becomes, down, following, in_thread, play

ROOT = Path(__file__).parent.parent


LINES = [
    (
        Reading("ph1", "y532", "water", stamp(), {"ph": Value(7.12, 7.1, "pH", 1)}),
        "water,station=s1,sensor=ph1 ph=7.1,ph_raw=7.12,ph_flag=1i 1795428000000",
    ),
    (
        Reading(
            "d", "p", "air", stamp(1), {"pm1": Value(1.0, 2.0, "ug/m3", 3), "pm10": Value(-0.5, 1e-7, "", 4)}
        ),
        "air,station=s1,sensor=d pm1=2.0,pm1_raw=1.0,pm1_flag=3i,pm10=1e-07,pm10_raw=-0.5,pm10_flag=4i 1",
    ),
    (
        Reading(
            "n", "p", "air", stamp(1), {"a": Value(math.nan, 2.0, "", 1), "b": Value(3.0, 3.0, "", Flag.GOOD)}
        ),
        "air,station=s1,sensor=n a_flag=9i,b=3.0,b_raw=3.0,b_flag=1i 1",
    ),
    (
        Reading("n", "p", "air", stamp(1), {"a": Value(1.0, -math.inf, "", 1)}),
        "air,station=s1,sensor=n a_flag=9i 1",
    ),
    (
        Reading("info", "nano", "air", stamp(1), {"inf": Value(1.0, 1.0, "", 1)}),
        "air,station=s1,sensor=info inf=1.0,inf_raw=1.0,inf_flag=1i 1",
    ),
    (Reading("empty", "p", "air", stamp(1), {}), ""),
    (
        Reading("a b,c=d\\", "p", "wa ter,x=y", stamp(1), {"q q,=": Value(1.0, 1.0, "", 1)}),
        r"wa\ ter\,x=y,station=s1,sensor=a\ b\,c\=d/ q\ q\,\==1.0,q\ q\,\=_raw=1.0,q\ q\,\=_flag=1i 1",
    ),
    (
        Event(stamp(), "clock_step", {"step_ms": 412}),
        r'event,station=s1 what="clock_step",detail="{\"step_ms\":412}",seq=7i 1795428000000000007',
    ),
    (
        Event(stamp(), "fault", {"sensor": "ph1", "why": 'a "no"\\\n'}),
        (
            r'event,station=s1,sensor=ph1 what="fault",'
            r'detail="{\"sensor\":\"ph1\",\"why\":\"a \\\"no\\\"\\\\\\n\"}",seq=7i 1795428000000000007'
        ),
    ),
    (
        Event(stamp(1), "alarm", {"rule": "high", "to": "normal", "sensor": "t1"}),
        (
            r'alarm,station=s1,sensor=t1 what="alarm",'
            r'detail="{\"rule\":\"high\",\"to\":\"normal\",\"sensor\":\"t1\"}",seq=7i,'
            'rule="high",state="normal" 1000007'
        ),
    ),
]


@pytest.mark.parametrize(("body", "line"), LINES)
def test_lines(body: Reading | Event, line: str) -> None:
    lines = Lines("s1")
    for _ in range(2):  # the second time from what is kept
        assert lines.join([Record(7, body)]).decode() == line


def test_an_event_too_long_for_a_string_says_so() -> None:
    line = Lines("s").join([Record(1, Event(stamp(), "x", {"text": "y" * 100_000}))])
    assert len(line) < 200
    assert b"too_long_bytes" in line


NASTY = [
    "a b",
    "a,b",
    "a=b",
    'a"b',
    "a\\b",
    "a\\ b",
    "воды",
    "#a",
    "a\tb",
    "'a'",
    "_x",
    "a\\,b",
    "{a}",
    "1",
    "-",
]


def test_the_database_reads_back_what_the_lines_say(influxdb: InfluxDB) -> None:
    """The parser that counts is InfluxDB's: nasty names and all sorts of numbers, written and read back."""
    rng = random.Random(3)
    numbers = [0.0, -0.0, 1e-7, 1e22, 1.7976931348623157e308, 5e-324, 7.1, -3.25, 123456789.125]
    numbers += [rng.uniform(-1, 1) * 10 ** rng.randint(-12, 12) for _ in range(30)]
    bodies: list[Reading | Event] = []
    for k, number in enumerate(numbers):
        name = NASTY[k % len(NASTY)]
        values = {name: Value(number, -number, "u", (1, 2, 3, 4, 9)[k % 5])}
        bodies.append(Reading(name, "m", f"medium {name}", stamp(START_MS + k), values))
    texts = [*NASTY, 'q"\\"', "end\\", "line\nbreak", "{}", "\\n"]
    bodies += [Event(stamp(START_MS), text, {"text": text}) for text in texts]

    async def job() -> None:
        sink = InfluxSink("st, a=tion", version1(influxdb.url, "nasty"))
        await sink.deliver(records(bodies))
        await sink.close()

    play(job)
    for k, number in enumerate(numbers):
        name = NASTY[k % len(NASTY)]
        clean = name.replace("\t", " ").replace("\\", "/")
        medium = "medium " + clean.replace('"', '\\"')
        (row,) = influxdb.rows(f'SELECT * FROM "{medium}" WHERE time = {(START_MS + k) * 1_000_000}', "nasty")  # noqa: S608  our own text
        assert row["station"] == "st, a=tion"
        assert row["sensor"] == clean
        assert (row[f"{clean}_raw"], row[clean]) == (number, -number)
        assert row[f"{clean}_flag"] == (1, 2, 3, 4, 9)[k % 5]
    rows = influxdb.rows("SELECT what, detail, seq FROM event", "nasty")
    assert [row["what"] for row in rows] == [text.replace("\n", " ") for text in texts]
    assert [row["seq"] for row in rows] == list(range(len(numbers) + 1, len(numbers) + 1 + len(texts)))


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, gateway.influx, gateway.influx_doors as d\n"
        "d.version1('http://127.0.0.1:1', 'x')()\n"
        "print([m for m in ('influxdb_client', 'urllib3') if m in sys.modules])\n"
        "import gateway.influx\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "['urllib3']"


def test_each_point_is_there_once_however_often_it_is_sent(influxdb: InfluxDB) -> None:
    async def job() -> None:
        bodies = [*series(500), *[Event(stamp(), "started", {"n": n}) for n in range(20)]]
        sink = InfluxSink("once", version1(influxdb.url, "once"))
        async with following(MemoryJournal(bodies), sink) as follower:
            await follower.done(520)
        for _ in range(3):
            await sink.deliver(records(bodies))
        await sink.close()
        assert stored(influxdb, "once") == [float(n) for n in range(500)]
        rows = influxdb.rows("SELECT * FROM event", "once")
        assert [row["seq"] for row in rows] == list(range(501, 521)), (
            "events of the same millisecond are all there"
        )
        assert {row["time"] // 1_000_000 for row in rows} == {START_MS}, "and right to the millisecond"

    play(job)


def test_a_missing_database_is_created(influxdb: InfluxDB, caplog: pytest.LogCaptureFixture) -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(series(3)), InfluxSink("new", version1(influxdb.url, 'new "database"'))
        async with following(journal, sink) as follower:
            await follower.done(3)
        assert journal.events("sink_down") == []

    play(job)
    assert stored(influxdb, 'new "database"') == [0.0, 1.0, 2.0]
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_a_database_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    async def job() -> None:
        server = InfluxDB(tmp_path / "i")
        journal, sink = MemoryJournal(series(50)), InfluxSink("late", version1(server.url, "late"))
        async with following(journal, sink) as follower:
            assert "refused" in (await down(follower)).lower()
            with running(server):
                await follower.done(50)
                assert stored(server, "late") == [float(n) for n in range(50)]
        assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1

    play(job)


def test_a_database_killed_in_mid_flow_has_each_point_once(own_influxdb: InfluxDB) -> None:
    async def job() -> None:
        journal, sink = MemoryJournal(), InfluxSink("killed", version1(own_influxdb.url, "killed"))
        sink.batch_records = 7
        async with following(journal, sink) as follower:
            for n in range(400):
                journal.append([reading(float(n), "ph1", START_MS + n)])
                if n == 150:
                    await follower.done(100)
                    own_influxdb.kill()
                if n == 250:
                    await down(follower)
                    await in_thread(own_influxdb.start)
                await asyncio.sleep(0.001)
            await follower.done(journal.committed_seq)
        assert stored(own_influxdb, "killed") == [float(n) for n in range(400)]
        assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1

    play(job)


def test_a_point_of_the_wrong_type_is_isolated_and_the_others_are_written(influxdb: InfluxDB) -> None:
    async def job() -> None:
        influxdb.post('CREATE DATABASE "poison"')
        door = version1(influxdb.url, "poison")()
        door.write(b"water,station=p,sensor=x bad=1i 1795428000000", "ms")
        door.close()
        bodies = series(200)
        for k in (17, 130):
            bodies[k] = Reading(
                "ph1", "m", "water", stamp(START_MS + 1000 * k), {"bad": Value(1.5, 1.5, "", 1)}
            )
        journal, sink = MemoryJournal(bodies), InfluxSink("p", version1(influxdb.url, "poison"))
        async with following(journal, sink) as follower:
            await follower.done(200)
            assert (follower.progress.delivered, follower.progress.refused) == (198, 2)
        assert [seq for _, seq, _ in journal.refused] == [18, 131]
        assert "field type conflict" in journal.refused[0][2]
        assert stored(influxdb, "poison") == [float(n) for n in range(200) if n not in (17, 130)]

    play(job)


def test_points_older_than_the_retention_policy_are_counted_not_refused(influxdb: InfluxDB) -> None:
    async def job() -> None:
        influxdb.post('CREATE DATABASE "short" WITH DURATION 1h')
        now_ms = int(time.time() * 1000)
        old = [reading(float(n), "ph1", 1_000_000 + n) for n in range(30)]
        new = [reading(float(n), "ph1", now_ms + n) for n in range(5)]
        journal, sink = MemoryJournal([*old, *new]), InfluxSink("short", version1(influxdb.url, "short"))
        async with following(journal, sink) as follower:
            await follower.done(35)
            await becomes(lambda: bool(journal.events("loss")))
        assert stored(influxdb, "short") == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert journal.refused == []
        assert sink.too_old == 30
        (said,) = journal.events("loss")
        assert (said["records"], said["sink"]) == (30, "influxdb")

    play(job)


def test_a_wrong_password_is_said_and_mended_without_a_restart(tmp_path: Path) -> None:
    async def job() -> None:
        with running(InfluxDB(tmp_path / "i", admin=("root", "secret"))) as server:
            server.post("CREATE USER kyia WITH PASSWORD 'right'")
            secret = tmp_path / "password"
            secret.write_text("wrong")
            journal = MemoryJournal(series(5))
            door = version1(server.url, "auth", username="kyia", password=secret.read_text)
            async with following(journal, InfluxSink("auth", door)) as follower:
                assert "authorization failed" in await down(follower)
                secret.write_text("right")
                await becomes(lambda: "create it: influx" in (follower.progress.last_error or ""))
                server.post('CREATE DATABASE "auth"')
                await becomes(lambda: "not authorized to write" in (follower.progress.last_error or ""))
                server.post('GRANT WRITE ON "auth" TO "kyia"')
                await follower.done(5)
            assert stored(server, "auth") == [0.0, 1.0, 2.0, 3.0, 4.0]
            assert len(journal.events("sink_down")) == len(journal.events("sink_up")) == 1
            assert journal.refused == []

    play(job)


def test_the_cursor_outlives_our_own_restart(influxdb: InfluxDB, tmp_path: Path) -> None:
    async def once(first: int) -> None:
        clock = Clock()
        journal = Journal(tmp_path, clock, commit_s=0.01)
        await journal.open()
        journal.cursor("influxdb")
        committing = asyncio.create_task(journal.run())
        async with following(journal, InfluxSink("again", version1(influxdb.url, "again"))) as follower:
            made = journal.append([reading(float(n), "ph1", START_MS + n) for n in range(first, first + 20)])
            await follower.done(made[-1].seq)
            assert follower.progress.delivered <= 25, "what was done before is not sent again"
        committing.cancel()
        await asyncio.wait([committing])
        await journal.close()

    async def job() -> None:
        await once(0)
        await once(20)
        assert stored(influxdb, "again") == [float(n) for n in range(40)]

    play(job)


def test_version_2_writes_the_same_lines(victoria: VictoriaMetrics) -> None:
    async def job() -> None:
        sink = InfluxSink("v2", version2(victoria.url, "monitoring", "stations", token="secret"))
        async with following(MemoryJournal(series(300)), sink) as follower:
            await follower.done(300)
        found = {
            s["metric"]["__name__"]: s for s in await in_thread(lambda: victoria.export('{station="v2"}'))
        }
        assert sorted(found) == ["water_ph", "water_ph_flag", "water_ph_raw"]
        raw = found["water_ph_raw"]
        assert raw["metric"]["sensor"] == "ph1"
        assert raw["values"] == list(range(300))
        assert raw["timestamps"] == [START_MS + 1000 * n for n in range(300)]
        assert found["water_ph"]["values"] == [n + 0.5 for n in range(300)]

    play(job)
