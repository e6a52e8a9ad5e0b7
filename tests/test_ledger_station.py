"""The gap ledger of a real station: killed twice, its broker away, one probe without power, one port pulled
out. It must balance to the last slot, and every number against the instruments' own record.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL

import pytest

from drivers.emulators.record import Said
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.ledger import GapLedger
from gateway.ledger_sums import Account
from gateway.model import Average, Event, Reading, Record
from tests.services import Mosquitto, running, until
from tests.site import KEEPING, Keeper, Site, site

EVERY_S = {"ph1": 0.5, "turb1": 0.5, "dust1": 2.0, "dust2": 1.0}
WHOLE = {"ph1": "ph", "turb1": "turbidity", "dust1": "pm10", "dust2": "pm10"}
"""The quantity of the last answer of each reading: ph1 is asked three times for one."""
COMMIT_S = 1.0
SLACK_S = 1.5
"""What a busy machine adds to the time between an answer and its commit, or a signal and its effect."""
DOWN_S = (2.2, 11.0)
"""So long nobody runs after each kill; the second time it is a gap worth an event."""


def boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def look(place: Site) -> tuple[list[Record], dict[str, Account], dict[str, int]]:
    """All records, the ledger's sums and the followers' cursors of a station that has ended."""

    async def read() -> tuple[list[Record], dict[str, Account], dict[str, int]]:
        ledger = GapLedger(EVERY_S)
        journal = Journal(place.folder / "data", Clock(), folds=[ledger])
        await journal.open()
        records: list[Record] = []
        while batch := await journal.after(records[-1].seq if records else 0, 5000):
            records += batch
        sums, cursors = ledger.account(records, 0, 1 << 62), journal.cursors_of("mqtt")
        await journal.close()
        return records, sums, cursors

    return asyncio.run(read())


class Told:
    """What the records say of one sensor's slots."""

    def __init__(self, records: Sequence[Record], sensor: str) -> None:
        self.every_ms = every_ms = round(EVERY_S[sensor] * 1000)
        readings = [r.body for r in records if isinstance(r.body, Reading) and r.body.sensor == sensor]
        self.taken = Counter(reading.at.mono_ms // every_ms for reading in readings)
        self.numbers = Counter(
            (name, value.raw) for reading in readings for name, value in reading.values.items()
        )
        self.missed = [
            (slot, r.body.detail["why"])
            for r in records
            if isinstance(r.body, Event) and r.body.what == "missed" and r.body.detail["sensor"] == sensor
            for slot in range(
                r.body.detail["from_mono_ms"] // every_ms, r.body.detail["to_mono_ms"] // every_ms
            )
        ]
        self.why = dict(self.missed)
        told = {*self.taken, *self.why}
        self.first, self.last = min(told), max(told)
        self.untold = {slot for slot in range(self.first, self.last) if slot not in told}
        self.ran = dict(self._ran(records, sensor))

    def _ran(self, records: Sequence[Record], sensor: str) -> Iterator[tuple[int, str]]:
        """The slots that nothing tells of though later records of the same life do: and why."""
        state, begun_ms, last_ms = "", 0, 0
        for r in [*records, Record(0, Event(records[-1].body.at, "started", {}))]:
            if isinstance(r.body, Average):
                continue
            if isinstance(r.body, Event) and r.body.what == "started":
                for slot in self.untold:
                    if begun_ms <= slot * self.every_ms and slot < last_ms // self.every_ms:
                        yield slot, state if state in ("dead", "unplugged") else "untold"
                state, begun_ms = "", r.body.at.mono_ms
            elif isinstance(r.body, Event) and r.body.what == "sensor" and r.body.detail["sensor"] == sensor:
                state = r.body.detail["state"]
            last_ms = r.body.at.mono_ms

    def gaps(self) -> Iterator[int]:
        """How many slots each run without a reading has that a reading ended."""
        run = 0
        for slot in range(self.first, self.last + 1):
            if slot not in self.taken:
                run += 1
            elif run:
                yield run
                run = 0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Site, Mosquitto]]:
    folder = tmp_path / "mosquitto"
    with (
        running(Mosquitto(folder, settings=KEEPING.format(folder=folder))) as broker,
        site(tmp_path, broker, None) as at_work,
    ):
        text = at_work.file.read_text()
        for sensor, every_s in EVERY_S.items():
            every = rf'\1"{round(every_s * 1000)} ms"'
            text = re.sub(rf'(id = "{sensor}"\n(?:.*\n)*?every = )"[^"]*"', every, text, count=1)
        at_work.file.write_text(text)
        yield at_work, broker


def test_the_ledger_of_a_killed_station_balances(place: tuple[Site, Mosquitto]) -> None:
    station, broker = place
    record, keeper = station.outside.record, Keeper(broker.port)
    lives: list[list[float]] = []

    def start() -> None:
        station.start()
        lives.append([boot_s()])

    def kill(down_s: float) -> None:
        station.stop(SIGKILL)
        lives[-1].append(boot_s())
        until("some seconds without a station", lambda: boot_s() - lives[-1][1] > down_s, 60)

    def answers(sensor: str, count: int) -> None:
        """Wait for so many more whole ones."""

        def so_far() -> int:
            return sum(
                said.name == sensor and said.asked and WHOLE[sensor] in said.values
                for said in record.snapshot()
            )

        begun = so_far()
        until(f"answers of {sensor}", lambda: so_far() >= begun + count, 60)

    def becomes(sensor: str, state: str) -> None:
        keeper.wait(
            f"{sensor} {state}",
            lambda got: any(
                said["detail"].get("sensor") == sensor and said["detail"].get("state") == state
                for topic, said in got
                if topic.endswith("/event") and said["what"] == "sensor"
            ),
        )

    start()
    answers("ph1", 4)
    station.ports.call(lambda: station.outside.faults.plant("dead", "turb1", times=None))
    becomes("turb1", "dead")
    station.ports.call(station.outside.ports["dust2-port"].unplug)  # type: ignore[attr-defined]  # ports have it
    becomes("dust2", "unplugged")
    gone_s = boot_s()
    until("two slots without its port", lambda: boot_s() > gone_s + 2 * EVERY_S["dust2"], 60)
    station.ports.call(lambda: station.outside.faults.clear("turb1"))
    station.ports.call(station.outside.ports["dust2-port"].replug)  # type: ignore[attr-defined]  # see above
    answers("turb1", 2)
    answers("dust2", 2)
    broker.stop()
    answers("ph1", 4)
    kill(DOWN_S[0])
    start()
    answers("ph1", 8)
    kill(DOWN_S[1])
    broker.start()
    start()
    answers("ph1", 4)
    for sensor in EVERY_S:  # so that all gaps have ended
        answers(sensor, 1)
    station.stop()
    lives[-1].append(boot_s())
    said, ahead_s = record.snapshot(), boot_s() - time.monotonic()
    records, sums, cursors = look(station)

    assert set(sums) == set(EVERY_S)
    gaps = [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == "gap"]
    for sensor, account in sums.items():
        told = Told(records, sensor)
        balances(told, account)
        agrees_with_the_instrument(sensor, told, [s for s in said if s.name == sensor], lives, ahead_s)
        nobody_ran(told, sensor, said, lives, ahead_s)
        worth_telling = [n for n in told.gaps() if n >= 3 and n * EVERY_S[sensor] >= 10]
        assert [gap["slots"] for gap in gaps if gap["sensor"] == sensor] == worth_telling
        assert worth_telling, "11 s without a station"
    assert {"dead", "no_answer"} & set(sums["turb1"].missed)
    assert sums["dust2"].missed["unplugged"] >= 1
    assert not {"dead", "unplugged"} & set(sums["ph1"].missed)
    # By sink: a drained station's broker has each reading that the ledger calls taken.
    assert min(cursors.values()) == records[-1].seq
    seqs = {r.seq for r in records if isinstance(r.body, Reading)}
    keeper.wait("every reading by MQTT", lambda got: set(keeper.seqs()) >= seqs, 30)
    keeper.close()


def balances(told: Told, account: Account) -> None:
    """Each slot from the first to the last that is told of is there once."""
    assert len(told.missed) == len(told.why)
    assert not set(told.taken) & set(told.why)
    assert account.expected == told.last - told.first + 1
    assert account.taken == len(told.taken)
    assert account.expected == account.taken + sum(account.missed.values())
    reasons = Counter([*told.why.values(), *told.ran.values()])
    if others := len(told.untold) - len(told.ran):
        reasons["not_running"] = others
    assert account.missed == reasons


def agrees_with_the_instrument(
    sensor: str, told: Told, said: list[Said], lives: list[list[float]], ahead_s: float
) -> None:
    """What it answered is in the journal, or is one of the last before a kill, or of a slot that is said to
    have no reading; and nothing else is in the journal.
    """
    answered = [s for s in said if not s.spoiled]
    numbers = Counter((name, value) for s in answered for name, value in s.values.items())
    assert not told.numbers - numbers, "nobody said so"
    left = told.numbers.copy()
    whole = 0
    for s in sorted(answered, key=lambda s: s.at_s):
        content = Counter(s.values.items())
        whole += WHOLE[sensor] in s.values
        if content <= left:
            left -= content
            continue
        whole -= WHOLE[sensor] in s.values
        at_s = s.at_s + ahead_s
        last_words = any(end_s - COMMIT_S - SLACK_S < at_s < end_s for _, end_s in lives[:-1])
        slot = int(at_s // EVERY_S[sensor])
        unasked = not s.asked  # a stream that went on while nobody listened
        missed = {slot, slot + 1} & {*told.why, *told.ran}
        assert last_words or unasked or missed, (sensor, s, lives)
    assert not left
    # Each answer that was kept is a reading, and only a process that was started again has two in a slot.
    assert whole == told.taken.total()
    assert told.taken.total() - len(told.taken) <= len(lives) - 1


def nobody_ran(told: Told, sensor: str, said: list[Said], lives: list[list[float]], ahead_s: float) -> None:
    """While the station certainly ran, no slot is "not_running"; while it certainly did not, all are."""
    every_s = EVERY_S[sensor]
    for begun_s, ended_s in lives:
        heard_s = [
            s.at_s + ahead_s for s in said if s.name == sensor and begun_s < s.at_s + ahead_s < ended_s
        ]
        sure = [
            slot
            for slot in sorted(told.untold - set(told.ran))
            if min(heard_s, default=ended_s) < slot * every_s
            and (slot + 1) * every_s < ended_s - COMMIT_S - SLACK_S
        ]
        assert not sure, f"{sensor}: it ran, and nothing tells of {sure}"
    for (_, ended_s), (begun_s, _) in pairwise(lives):
        down = range(int(ended_s // every_s) + 1, int(begun_s // every_s))
        assert set(down) <= told.untold - set(told.ran), sensor
