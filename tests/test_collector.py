"""The collector: its account, what it makes of messages, its file. With servers: test_collector_kills.py."""

from __future__ import annotations

import json
import re
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
from tests.centre import T0_MS
from tests.fleet import reading

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
