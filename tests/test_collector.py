"""The collector: many stations, several collectors, real Mosquitto and InfluxDB, and kills of all of them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.collector_account import BLOCK, Account, Claim, Seen, claim_of, missing, total
from gateway.collector_points import Points, Poison
from gateway.config_collector import load
from gateway.errors import ConfigError
from gateway.influx import Lines
from gateway.model import Average, Body, Event, Mean, Reading, Record, Stamp, Value
from gateway.mqtt_messages import alarm_json, average_json, event_json, reading_json
from tests.fleet import Fleet, reading, status
from tests.services import InfluxDB, Mosquitto, fetch, free_port, until

T0_MS = 1_795_428_000_000
AT = Stamp(T0_MS, "b", 5, True)


# ── the account ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("seqs", "holes"),
    [
        ([], []),
        ([5], []),
        ([5, 6, 7], []),
        ([5, 7], [(6, 6)]),
        ([1, 1023, 1024, 1030], [(2, 1022), (1025, 1029)]),
        ([1, 3000], [(2, 2999)]),
        ([1023, 2049], [(1024, 2048)]),
    ],
)
def test_holes_are_what_is_not_there(seqs: list[int], holes: list[tuple[int, int]]) -> None:
    seen = Seen()
    for seq in seqs:
        assert seen.add(seq, 0)
    assert seen.holes() == holes
    assert seen.count(0, 10_000) == len(seqs)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.sets(st.integers(1, 5 * BLOCK), min_size=1), st.integers(0, 5 * BLOCK), st.integers(0, 5 * BLOCK))
def test_the_bits_say_what_a_set_says(seqs: set[int], since: int, upto: int) -> None:
    one, other = Account("a"), Account("b")
    for seq in seqs:
        (one if seq % 3 else other).add("s", seq, 7)
    whole = Account()
    for part in (one, other):
        for line in part.lines():
            found = re.fullmatch(r'collected,station=s,node=[ab] block=(\d+)i,seen="([^"]*)" (\d+)', line)
            assert found
            number = int(found[1])
            assert int(found[3]) == 7_000_000 + number
            assert whole.merge("s", number, found[2], 7)
    seen = whole.stations["s"]
    assert seen.ends() == (min(seqs), max(seqs))
    assert seen.count(since, upto) == sum(since < seq <= upto for seq in seqs)
    absent = {seq for first, last in seen.holes(10**6) for seq in range(first, last + 1)}
    assert absent == set(range(min(seqs), max(seqs))) - seqs
    assert total(seen.holes(10**6)) == len(absent)
    for seq in seqs:
        assert not seen.add(seq, 8)


def test_a_record_taken_back_is_not_there() -> None:
    account = Account("n")
    account.add("s", 5, 0)
    account.written()
    account.remove("s", 5)
    assert account.stations["s"].count(0, 10) == 0
    assert len(list(account.lines())) == 1  # the database must hear of it


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([], None),
        ([Claim(0, 10, 10)], 3),  # 3, 4 and 9 are not there
        ([Claim(0, 10, 7)], 0),
        ([Claim(4, 8, 4)], 0),
        ([Claim(0, 4, 4), Claim(0, 10, 10)], 3),
    ],
)
def test_what_a_station_says_is_held_against_the_bits(claims: list[Claim], expected: int | None) -> None:
    seen = Seen()
    for seq in (1, 2, 5, 6, 7, 8, 10):
        seen.add(seq, 0)
    assert missing(seen, claims) == expected


def test_below_what_is_known_only_the_difference_of_two_claims_counts() -> None:
    seen = Seen(floor=4)
    for seq in (5, 6, 7, 8, 10):
        seen.add(seq, 0)
    assert missing(seen, [Claim(0, 10, 10)]) is None
    assert missing(seen, [Claim(0, 4, 4), Claim(0, 10, 10)]) == 1


@pytest.mark.parametrize("sent", [None, [1, 2], [1, 2, True], [5, 2, 1], [0, 5, 6], ["0", 5, 5], [-1, 5, 5]])
def test_a_claim_that_makes_no_sense_is_none(sent: Any) -> None:
    assert claim_of({"sinks": {"mqtt": {"sent": sent}}}) is None
    assert claim_of({"sinks": {"mqtt": {"sent": [0, 5, 5]}}}) == Claim(0, 5, 5)


# ── messages ────────────────────────────────────────────────────────────────────────────────────────


def in_ns(line: str) -> str:
    return "\n".join(one if len(one.rpartition(" ")[2]) == 19 else f"{one}000000" for one in line.split("\n"))


NONE = float("nan")
SPIKE = {"sensor": "d", "quantity": "pm", "medium": "air", "flag": 4, "time_ms": T0_MS - 5}
ALARM = {"rule": "r", "to": "active", "quantity": "q", "priority": "high"}
LENGTHS = (Mean(1.5, 1.0, 2.0, 5, 6, "ug/m3", 1), Mean(None, None, None, 0, 6, "", 9))


@pytest.mark.parametrize(
    "body",
    [
        Reading("ph 1", "m", "water", AT, {"ph": Value(7.12, 7.1, "pH", 3, "spike")}),
        Reading("d", "m", "air", AT, {"n": Value(NONE, NONE, "", 9), "m": Value(1.0, 2.0, "", 1)}),
        Average("d", "m", "air", AT, T0_MS - 60_000, 60, {"pm": LENGTHS[0]}, 2),
        Average("d", "m", "air", AT, T0_MS - 60_000, 3600, {"pm": LENGTHS[1]}),
        Event(AT, "clock_step", {"step_ms": 412, "sensor": "a,b"}),
        Event(AT, "alarm", ALARM),
        Event(AT, "flagged", SPIKE),
    ],
)
def test_the_collector_writes_what_the_station_would_have_written(body: Body) -> None:
    record = Record(7, body)
    match body:
        case Reading():
            topic, payload = f"reading/{body.sensor}", reading_json("s", record.seq, body)
        case Average():
            topic, payload = f"average/{body.sensor}", average_json("s", record.seq, body)
        case Event(what="alarm"):
            topic, payload = "alarm/r", alarm_json("s", record.seq, body)
        case _:
            topic, payload = "event", event_json("s", record.seq, body)
    for way in ("", "backfill/"):
        if way and topic.startswith("alarm"):
            continue
        taken = Points().take(f"suuaba/1/s/{way}{topic}", payload, 0)
        assert (taken.station, taken.seq) == ("s", record.seq)
        assert taken.lines == in_ns(Lines("s").join([record]).decode())


def test_a_flag_that_was_corrected_stays_when_its_reading_comes_again() -> None:
    points, (topic, payload) = Points(), reading("s", 5, T0_MS)
    detail = {"sensor": "s1", "quantity": "q0", "medium": "water", "flag": 4, "time_ms": T0_MS}
    assert "q0_flag=1i" in points.take(topic, payload, 0).lines
    points.take("suuaba/1/s/event", event_json("s", 6, Event(AT, "flagged", detail)), 0)
    again = points.take(topic, payload, 0).lines
    assert "q0_flag=4i" in again
    assert "q1_flag=1i" in again


TOPIC, PAYLOAD = reading("s", 5, T0_MS)
GOOD = json.loads(PAYLOAD)


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("suuaba/1/s/reading/s1", b"{", "reading: Input data was truncated"),
        ("suuaba/1/s/reading/s1", b"\xff\xfe", "reading: "),
        ("suuaba/1/s/reading/s1", b"[" * 5000, "reading: "),
        ("suuaba/1/s/reading/s1", GOOD | {"station": "t"}, "the topic says station 's', the message 't'"),
        ("suuaba/1/s/reading/s2", GOOD, "the topic says 's2', the message 's1'"),
        ("suuaba/1/s/reading/s1", GOOD | {"seq": 0}, "reading: "),
        ("suuaba/1/s/reading/s1", GOOD | {"seq": 2**62}, f"{2**62} is no sequence number"),
        ("suuaba/1/s/reading/s1", GOOD | {"time": "2026-13-23T10:00:00.000Z"}, "is no time"),
        ("suuaba/1/s/reading/s1", GOOD | {"time": "1970-01-01T10:00:00.000Z"}, "cannot be the time"),
        ("suuaba/1/s/reading/s1", GOOD | {"medium": "event"}, "medium 'event' is none of"),
        ("suuaba/1/s/reading/s1", GOOD | {"values": {}}, "0 values in one message"),
        ("suuaba/1/s/reading/s1", GOOD | {"values": {"a\nb": GOOD["values"]["q0"]}}, "is no name"),
        ("suuaba/1/s/reading", GOOD, "is no topic of a station"),
        ("suuaba/1/s/reading/s1/x", GOOD, "is no topic of a station"),
        ("suuaba/1/s/backfill/s1", GOOD, "is no topic of a station"),
        ("suuaba/2/s/reading/s1", GOOD, "is no topic of a station"),
        ("suuaba/1//reading/s1", GOOD, "is no topic of a station"),
        ("elsewhere", GOOD, "is no topic of a station"),
        ("suuaba/1/s/alarm/r", {"station": "s"}, "alarm: "),
        ("suuaba/1/s/status", {"state": "dancing", "station": "s"}, "status: "),
    ],
)
def test_what_can_never_be_written_is_set_aside_with_its_reason(topic: str, payload: Any, why: str) -> None:
    octets = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(Poison) as caught:
        Points().take(topic, octets, 0)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_corrected_flag_of_nonsense_changes_nothing() -> None:
    detail = {"sensor": "s1", "quantity": "q0\n", "medium": "event", "flag": 77, "time_ms": "x"}
    taken = Points().take("suuaba/1/s/event", event_json("s", 6, Event(AT, "flagged", detail)), 0)
    assert taken.lines.count("\n") == 0
    assert 'what="flagged?"' in taken.lines


# ── collector.toml ──────────────────────────────────────────────────────────────────────────────────


def test_the_example_is_a_good_file() -> None:
    wanted = load(Path(__file__).parent.parent / "deploy" / "collector.example.toml", environment={})
    assert (wanted.name, wanted.mqtt.window, wanted.influxdb.database) == ("centre-1", 10_000, "stations")
    assert wanted.web is not None
    assert wanted.web.listen == ("127.0.0.1", 8081)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "collector.toml: mqtt: is missing; add [mqtt] with url = …, see deploy/collector.example.toml"),
        ('[mqtt]\nurl = "http://x"\n', 'collector.toml: mqtt.url: "http://x"'),
        ('[mqtt]\nurl = "mqtt://x"\nuser = "a"\n', "collector.toml: mqtt.user: there is no such key;"),
        ('[mqtt]\nurl = "mqtt://x"\nkey = "a"\n', "collector.toml: mqtt: certificate and key go together"),
        ('[influxdb]\nurl = "http://x"\nversion = 1\n', "collector.toml: influxdb.database: is missing"),
        ('[influxdb]\nurl = "http://x"\nbucket = "b"\n', "collector.toml: influxdb.org: is missing"),
        ("[mqt]\n", 'collector.toml: mqt: there is no such section; did you mean "mqtt"?'),
        ("[mqtt]\nurl x", "collector.toml: line 2"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "collector.toml"
    file.write_text(text)
    (tmp_path / "a").write_text("a key")
    with pytest.raises(ConfigError) as caught:
        load(file, environment={})
    assert any(one.startswith(line) for one in caught.value.lines), caught.value.lines


# ── the real thing ──────────────────────────────────────────────────────────────────────────────────


class Process:
    """A collector in a process of its own, which may be killed and started again."""

    def __init__(self, folder: Path, name: str, broker: Mosquitto, influx: InfluxDB, extra: str = "") -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "collector.toml"
        self.file.write_text(
            f'[collector]\nname = "{name}"\ndata = "data"\n[mqtt]\nurl = "{broker.url}"\n{extra}'
            f'[influxdb]\nurl = "{influx.url}"\nversion = 1\ndatabase = "stations"\n'
            f'[web]\nlisten = "127.0.0.1:{self.port}"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "collect", str(self.file)], stdout=log, stderr=log
            )

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code, self._process = self._process.wait(20), None
        return code

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, all threads."""
        assert self._process is not None
        words = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def command_line(self) -> str:
        assert self._process is not None
        environment = Path(f"/proc/{self._process.pid}/environ").read_text(errors="replace")
        return Path(f"/proc/{self._process.pid}/cmdline").read_text() + environment

    def rss_mb(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def healthy(self) -> bool:
        with suppress(OSError):
            return fetch(f"http://127.0.0.1:{self.port}/healthz") == b"ok"
        return False

    def aside(self) -> list[Any]:
        file = self.folder / "data/poison.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def accounts(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli", "collect", str(self.file), "--accounts"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@contextmanager
def centre(folder: Path, persist_s: int) -> Iterator[tuple[Mosquitto, InfluxDB, list[Process]]]:
    settings_text = f"persistence true\npersistence_location {folder}/broker/\nautosave_interval {persist_s}"
    broker = Mosquitto(folder / "broker", settings=settings_text)
    influx = InfluxDB(folder / "influx")
    broker.start()
    influx.start()
    processes = [Process(folder / f"c{i}", f"c{i}", broker, influx) for i in (1, 2)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            until("a collector", process.healthy)
        yield broker, influx, processes
    finally:
        for process in processes:
            process.end()
        broker.stop()
        influx.stop()


def points(influx: InfluxDB, *, at_rest: bool = False) -> dict[str, set[int]]:
    """The numbers of the readings that are in the database, by station, from the times of the points."""
    answer = influx.ask("/query", db="stations", epoch="ms", q="SELECT q0, q3 FROM water GROUP BY station")
    found: dict[str, set[int]] = {}
    for series in answer["results"][0].get("series", []):
        seqs = set()
        for at_ms, q0, q3 in series["values"]:
            seq = (at_ms - T0_MS) // 1000
            if at_rest:  # a query may see half of a point that is being written
                assert (q0, q3) == (seq + 0.5, seq + 0.875)
            seqs.add(seq)
        assert len(seqs) == len(series["values"])
        found[series["tags"]["station"]] = seqs
    return found


def accounted(process: Process) -> dict[str, tuple[int, int | None, list[list[int]]]]:
    """What the page says of each station: records there, missing, holes."""
    rows = json.loads(fetch(f"http://127.0.0.1:{process.port}/api/stations"))["stations"]
    return {row["station"]: (row["records"], row["missing"], row["holes"]) for row in rows}


def test_stations_reach_the_database_and_the_page_and_nonsense_does_not(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, processes):
        fleet = Fleet(broker.port)
        for seq in range(1, 31):
            for station in ("a", "b"):
                if (station, seq) != ("b", 7):  # lost on the way to the broker
                    fleet.publish(*reading(station, seq, T0_MS + seq * 1000))
        fleet.publish(*reading("a", 3, T0_MS + 3000))  # once more
        fleet.publish("suuaba/1/a/reading/s1", b"nonsense")
        wrong = json.loads(reading("c", 1, T0_MS)[1])
        wrong["values"]["q0"]["value"] = 10**400  # a number that no database takes
        fleet.publish("suuaba/1/c/reading/s1", json.dumps(wrong).encode())
        text = json.dumps(wrong | {"values": {"q1_flag": wrong["values"]["q1"]}}).encode()
        fleet.publish("suuaba/1/c/reading/s1", text)  # a field that has another type
        for station in ("a", "b"):
            fleet.publish(*status(station, 30), retain=True)
        fleet.wait()
        expected = {"a": set(range(1, 31)), "b": set(range(1, 31)) - {7}}
        until("all points", lambda: points(influx) == expected)

        def told() -> bool:
            found = accounted(processes[0])
            return {"a", "b"} <= set(found) and found["a"][1] == 0 and found["b"] == (29, 1, [[7, 7]])

        until("the account", told, 60)
        topics = ["suuaba/1/a/reading/s1", *["suuaba/1/c/reading/s1"] * 2]
        until(
            "what is set aside",
            lambda: sorted(one["topic"] for p in processes for one in p.aside()) == topics,
        )
        page = fetch(f"http://127.0.0.1:{processes[0].port}/").decode()
        assert "<td>b</td>" in page
        metrics = [fetch(f"http://127.0.0.1:{p.port}/metrics").decode() for p in processes]
        taken = [int(re.findall(r"^suuaba_collect_records_total (\d+)$", text, re.M)[0]) for text in metrics]
        assert sum(taken) == 60  # with the one that came twice
        assert all(taken)  # both had a share
        said = processes[1].accounts()
        assert said.returncode == 1
        assert "b: 29 records, numbers 1 to 30; not there: 1 (7)" in said.stdout
        assert processes[0].end(signal.SIGTERM) == 0
        fleet.close()


STATIONS = 200
EACH = 40
LOOKS = 60


@pytest.mark.parametrize("broker_too", [False, True])
def test_two_collectors_are_killed_at_random_and_the_account_is_exact(
    tmp_path: Path, broker_too: bool
) -> None:
    """Without kills of the broker nothing is missing. With them what Mosquitto had taken and not yet kept is
    lost, and the account says so to the last number.
    """
    dice = random.Random(7 + broker_too)
    with centre(tmp_path, 1 if broker_too else 1800) as (broker, influx, processes):
        fleet = Fleet(broker.port)
        stations = [f"st-{i}" for i in range(STATIONS)]
        for seq in range(1, EACH + 1):
            for station in stations:
                fleet.publish(*reading(station, seq, T0_MS + seq * 1000))
            if seq % 8 == 0:
                match dice.choice(["c1", "c2", "influx", *(["broker"] * 2 if broker_too else [])]):
                    case "influx":
                        influx.kill()
                        influx.start()
                    case "broker":
                        broker.kill()
                        broker.start()
                    case name:
                        process = processes[int(name[1]) - 1]
                        process.end()
                        process.start()
        if broker_too:
            broker.kill()
            broker.start()
        fleet.wait(120)
        for station in stations:
            fleet.publish(*status(station, EACH), retain=True)
        fleet.wait(120)
        for process in processes:
            until("a collector", process.healthy, 25)
        before: list[int] = []

        def settled() -> bool:
            before.append(sum(len(seqs) for seqs in points(influx).values()))
            if before[-1] == STATIONS * EACH:
                return True
            # Whether still more comes can only be told by looking again, and again.
            return broker_too and len(before) > LOOKS and len(set(before[-LOOKS:])) == 1

        until("the last reading", settled, 90)
        there = points(influx, at_rest=True)
        for (
            process
        ) in processes:  # anew, so that everything comes from the database and the retained statuses
            assert process.end(signal.SIGTERM) == 0
            process.start()
            until("a collector", process.healthy, 25)
        until("every status", lambda: len(accounted(processes[0])) == STATIONS, 60)

        def exact() -> bool:
            found = accounted(processes[0])
            return all(
                found[station][0] == len(there.get(station, ()))
                and found[station][1] == EACH - len(there.get(station, ()))
                for station in stations
            )

        until("the account", exact, 60)
        for station, (_, _, holes) in accounted(processes[0]).items():
            seqs = there.get(station, set())
            absent = set(range(min(seqs), max(seqs))) - seqs if seqs else set()
            assert {seq for a, b in holes for seq in range(a, b + 1)} == absent
        if not broker_too:
            assert there == {station: set(range(1, EACH + 1)) for station in stations}
        fleet.close()


def test_a_name_taken_twice_is_said(tmp_path: Path) -> None:
    with centre(tmp_path, 1800) as (broker, influx, _):
        twin = Process(tmp_path / "twin", "c1", broker, influx)
        twin.start()
        try:
            logs = [tmp_path / "c1" / "log", tmp_path / "twin" / "log"]
            said = "it looks as if another collector were called 'c1' too"
            until("the word", lambda: any(log.exists() and said in log.read_text() for log in logs))
        finally:
            twin.end()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli", "collect", str(tmp_path / "none.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == 2
    assert "there is no such file; copy deploy/collector.example.toml" in done.stderr
    assert done.stderr.count("\n") == 1
