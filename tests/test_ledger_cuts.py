"""The gap ledger in a real journal whose power is cut anywhere: hours that were told, what the fold remembers
and the records it counts are always of one moment.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from random import Random

import pytest

from gateway import journal as journal_module
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.ledger import GapLedger
from gateway.ledger_sums import HOUR_MS, Account
from gateway.model import Event, Reading, Record, Stamp, Value

EVERY_S = {"ph": 60.0, "orp": 60.0}
UTC_MS = 1_795_428_000_000
EVER = (0, 1 << 62)


class ToldClock(Clock):
    def __init__(self, boot: str, mono_ms: int, utc_ms: int) -> None:
        self.boot, self.mono_ms, self.utc_ms = boot, mono_ms, utc_ms

    def stamp(self) -> Stamp:
        return Stamp(self.utc_ms, self.boot, self.mono_ms, True)

    def go(self, seconds: float) -> None:
        self.mono_ms += round(seconds * 1000)
        self.utc_ms += round(seconds * 1000)


def reading(sensor: str, clock: ToldClock) -> Reading:
    return Reading(sensor, "m", "water", clock.stamp(), {"ph": Value(7.0, 7.0, "pH", 1)})


async def live(folder: Path, cuts: Path, seed: int) -> None:
    """Four hours, every now and then copied as it stands on the disk at that moment, whole or torn."""
    chance, clock = Random(seed), ToldClock("boot0", 30_000, UTC_MS)
    journal = Journal(folder, clock, folds=[GapLedger(EVERY_S)])
    await journal.open()
    for minute in range(240):
        bodies = [reading("ph", clock)]
        if minute % 7:
            bodies.append(reading("orp", clock))
        journal.append(bodies)
        clock.go(1)
        journal.tick()
        if chance.random() < 0.6:
            await journal.sync()
        if chance.random() < 0.25:
            copy = cuts / f"{minute:03}"
            shutil.copytree(folder, copy)
            tail = copy / "tail"
            if chance.random() < 0.5 and tail.exists():
                with tail.open("r+b") as file:
                    file.truncate(chance.randrange(tail.stat().st_size + 1))
        clock.go(59)
    await journal.close()


async def everything(journal: Journal) -> list[Record]:
    records: list[Record] = []
    while batch := await journal.after(records[-1].seq if records else 0, 5000):
        records += batch
    return records


async def looked_at(folder: Path) -> tuple[list[Record], dict[str, Account], list[Record]]:
    """Start again after the cut, an hour later; read once and look."""
    clock, ledger = ToldClock("boot1", 20_000, UTC_MS + 5 * HOUR_MS), GapLedger(EVERY_S)
    journal = Journal(folder, clock, folds=[ledger])
    await journal.open()
    before = await everything(journal)
    journal.append([Event(clock.stamp(), "started", {}), *(reading(sensor, clock) for sensor in EVERY_S)])
    await journal.sync()
    records = await everything(journal)
    sums = ledger.account(records, *EVER)
    await journal.close()
    return records, sums, before


@pytest.mark.parametrize("seed", [1, 2])
def test_the_sums_are_right_wherever_the_power_goes(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 4000)
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    asyncio.run(live(tmp_path / "journal", cuts, seed))
    told_hours = 0
    for cut in sorted(cuts.iterdir()):
        records, sums, before = asyncio.run(looked_at(cut))
        readings = [r.body for r in records if isinstance(r.body, Reading)]
        last = max((r.body.at.mono_ms for r in before if r.body.at.boot == "boot0"), default=0)
        hours = [
            (r.body.detail["sensor"], r.body.detail["from_ms"])
            for r in records
            if isinstance(r.body, Event) and r.body.what == "ledger"
        ]
        assert len(hours) == len(set(hours)), f"{cut.name}: an hour told twice"
        told_hours += len(hours)
        for sensor, account in sums.items():
            slots = {(r.at.boot, r.at.mono_ms // 60_000) for r in readings if r.sensor == sensor}
            first = min((slot for boot, slot in slots if boot == "boot0"), default=None)
            assert account.taken == len(slots), f"{cut.name}: {sensor}"
            assert account.expected == account.taken + sum(account.missed.values())
            if first is None:
                continue
            # By hand: the first boot from its first reading to its last record; the dark; one reading.
            end = last // 60_000 + 1
            dark = round((5 * HOUR_MS - (end * 60_000 - 30_000) - 20_000) / 60_000)
            assert account.missed["power_off"] == dark, f"{cut.name}: {sensor}"
            assert account.expected == end - first + dark + 1, f"{cut.name}: {sensor}"
    assert told_hours > 20
