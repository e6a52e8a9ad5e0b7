"""Refused records: listed with their reasons, offered again, delivered once. Against a real InfluxDB."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway import retry as retry_module
from gateway.follow import Follower
from gateway.follow_sink import Progress
from gateway.model import Event, Reading, Record, Stamp
from gateway.refused import LIMIT, RefusedFold, offer, state
from tests.memory_journal import MemoryJournal
from tests.services import InfluxDB, until
from tests.site import DATABASE, Site, events, site

AT = Stamp(1_795_428_000_000, "boot1", 1000, True)


def refused(seq: int, of: int, sink: str = "influxdb", reason: str = "400") -> Record:
    return Record(seq, Event(AT, "refused", {"sink": sink, "seq": of, "reason": reason}))


def retried(seq: int, *seqs: int, sink: str = "influxdb") -> Record:
    return Record(seq, Event(AT, "retried", {"sink": sink, "seqs": list(seqs)}))


# ── the list ────────────────────────────────────────────────────────────────────────────────────


def test_the_list_as_a_table() -> None:
    fold = RefusedFold()
    table: list[tuple[Record, list[int]]] = [
        (refused(10, 7), [7]),
        (refused(11, 9), [7, 9]),
        (refused(12, 8, sink="mqtt"), [7, 9]),
        (retried(13, 7), [9]),
        (retried(14, 7, 9, sink="mqtt"), [9]),
        (refused(15, 7, reason="again"), [7, 9]),
        (Record(16, Event(AT, "started", {})), [7, 9]),
        (Record(17, Event(AT, "refused", {"sink": "influxdb", "seq": "x"})), [7, 9]),
        (retried(18, 7, 9), []),
    ]
    for record, left in table:
        assert fold.step(record) == ()
        assert sorted(fold.of("influxdb")) == left
        again = RefusedFold()
        again.restore(fold.save())
        assert again.lists == fold.lists
    assert fold.of("mqtt") == {8: "400"}
    fold.restore(b"{")
    assert fold.lists == {}


def test_the_list_is_bounded() -> None:
    fold = RefusedFold()
    for seq in range(LIMIT + 20):
        fold.step(refused(10_000 + seq, seq, reason="x" * 10_000))
    assert len(fold.of("influxdb")) == LIMIT
    assert fold.lists["influxdb"].beyond == 20
    assert len(fold.save()) < 200_000


class Takes:
    """A follower that takes two at a time."""

    progress = Progress()

    def again(self, seqs: object) -> int:
        return min(2, len(list(seqs)))  # type: ignore[call-overload]  # any iterable


class Small:
    """A station as far as `offer` needs it."""

    def __init__(self) -> None:
        self.refused = RefusedFold()
        self.followers = {"influxdb": Takes()}
        self.journal = self
        self.clock = self
        self.said: list[Event] = []

    def append(self, bodies: object) -> None:
        for body in bodies:  # type: ignore[attr-defined]  # a sequence of events
            self.said.append(body)
            self.refused.step(Record(100 + len(self.said), body))

    def stamp(self) -> Stamp:
        return AT


def test_only_what_a_sink_takes_leaves_the_list() -> None:
    from gateway.errors import ControlError

    station = Small()
    for seq in (5, 3, 9):
        station.refused.step(refused(seq + 10, seq))
    assert offer(station, "influxdb", [9, 5, 3, 77]) == [3, 5]
    assert [e.detail for e in station.said] == [{"sink": "influxdb", "seqs": [3, 5]}]
    assert sorted(station.refused.of("influxdb")) == [9]
    assert offer(station, "influxdb", [3, 5]) == []
    assert len(station.said) == 1
    for sink, only in (("nowhere", None), ("", [9]), ("influxdb", "9"), ("influxdb", [True])):
        with pytest.raises(ControlError):
            state(station, sink, only)


def test_round_after_round_until_all_are_through() -> None:
    """A sink that takes two at a time, and refuses one of them again."""
    station = Small()
    for seq in range(7):
        station.refused.step(refused(seq + 10, 3 * seq + 1, reason="type conflict"))

    async def call(**body: Any) -> Any:
        answer = state(station, body["sink"], body.get("only"))
        if 10 in answer["taken"]:
            station.refused.step(refused(500, 10, reason="still"))
        return answer if body.get("only") is None else {**answer, **state(station), "taken": answer["taken"]}

    said: list[str] = []
    first = state(station)
    assert asyncio.run(retry_module._rounds(call, first, "influxdb", said.append)) == 1
    assert said[:2] == ["influxdb: 6 of 7 records delivered", "influxdb: record 10 is refused again: still"]
    assert sorted(station.refused.of("influxdb")) == [10]
    said.clear()
    assert asyncio.run(retry_module._rounds(call, {"sinks": {"mqtt": {"refused": {}}}}, "", said.append)) == 0
    assert said == ["mqtt: no record is refused"]


def test_what_goes_again_is_not_passed_over_as_settled() -> None:
    """A refused record of a batch that was let go as history counts as settled until the history is paid."""

    async def scenario() -> None:
        journal = MemoryJournal()
        follower = Follower(journal, "influxdb", Nothing(), stamp=lambda: AT)  # type: ignore[arg-type]  # enough of a sink
        follower._settled = {4, 5, 6}
        follower.again([5])
        assert follower._settled == {4, 6}

    asyncio.run(scenario())


class Nothing:
    history_per_s, batch_records = 1.0, 10


# ── the whole ───────────────────────────────────────────────────────────────────────────────────


def retry(place: Site, *sink: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "gateway.cli", "retry", str(place.file), *sink]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def conflict(influxdb: InfluxDB) -> None:
    """Another program has put text where our numbers belong: InfluxDB then refuses every number."""
    from tests.services import fetch

    influxdb.post(f"CREATE DATABASE {DATABASE}")
    at_ns = time.time_ns()
    fetch(f"{influxdb.url}/write?db={DATABASE}", f'air,sensor=other pm2_5="much" {at_ns}'.encode())


def mend(influxdb: InfluxDB) -> None:
    influxdb.post("DROP MEASUREMENT air", DATABASE)


def check(place: Site, influxdb: InfluxDB) -> None:
    """Each reading of the journal is one point, and nothing is on the list."""
    records, _ = place.journal()
    read = Counter(
        (r.body.sensor, r.body.at.utc_ms)
        for r in records
        if isinstance(r.body, Reading) and r.body.medium == "air" and r.body.values
    )
    rows = influxdb.rows("SELECT pm2_5 FROM air GROUP BY sensor", DATABASE)
    points = Counter((row["sensor"], row["time"] // 1_000_000) for row in rows)
    assert max(points.values()) == 1
    assert set(points) == set(read)
    fold = RefusedFold()
    for record in records:
        fold.step(record)
    assert fold.of("influxdb") == {}


def wait_refused(place: Site, number: int) -> None:
    until("refusals", lambda: place.log.read_bytes().count(b"refused and set aside") >= number)


def test_retry_while_the_station_runs(tmp_path: Path, own_influxdb: InfluxDB) -> None:
    conflict(own_influxdb)
    with site(tmp_path, None, own_influxdb) as place:
        place.start()
        wait_refused(place, 12)
        done = retry(place, "influxdb")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "refused again: " in done.stdout
        assert "field type conflict" in done.stdout
        mend(own_influxdb)
        done = retry(place)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "records delivered" in done.stdout
        assert retry(place).stdout == "influxdb: no record is refused\n"
        place.stop()
        check(place, own_influxdb)


def test_retry_while_it_does_not_run(tmp_path: Path, own_influxdb: InfluxDB) -> None:
    conflict(own_influxdb)
    with site(tmp_path, None, own_influxdb) as place:
        place.start()
        wait_refused(place, 12)
        place.stop()
        doctor = [sys.executable, "-m", "gateway.cli", "doctor", str(place.file)]
        said = subprocess.run(doctor, capture_output=True, text=True, timeout=90, check=False).stdout
        assert "is refused by influxdb: " in said
        assert "field type conflict" in said
        assert f"suuaba retry {place.file.name} influxdb" in said
        done = retry(place, "influxdb")
        assert (done.returncode, "refused again: " in done.stdout) == (1, True)
        mend(own_influxdb)
        done = retry(place, "influxdb")
        assert done.returncode == 0, done.stdout + done.stderr
        records, _ = place.journal()
        assert len(events(records, "started")) == 1  # no other station was begun for it
        said = subprocess.run(doctor, capture_output=True, text=True, timeout=90, check=False).stdout
        assert "no record is refused" in said
        check(place, own_influxdb)


def test_retry_says_what_it_cannot_do(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        done = retry(place)
        assert (done.returncode, done.stderr) == (1, f"suuaba: {tmp_path}/data: there is no journal yet\n")
        place.start()
        until("the door is open", (tmp_path / "data" / "control.sock").exists)
        done = retry(place, "elsewhere")
        place.stop()
    assert done.returncode == 2
    assert done.stderr == "station.toml: there is no sink 'elsewhere'; there are: none\n"
