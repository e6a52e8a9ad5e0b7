"""A station that was killed and restarted gives the same averages and flags as one that never ended, over the
same readings: hours in some seconds, every record compared to the letter (tests/crash/hours.py).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import cli, evidence_check, verify
from gateway.averages import AveragesFold
from gateway.calibration_fold import CalibrationFold
from gateway.journal_folds import Folds
from gateway.ledger import GapLedger
from gateway.maintenance import MaintenanceFold
from gateway.model import Average, Event, Reading, Record, Stamp
from gateway.qc_memory import QualityMemory
from gateway.qc_spike import SpikeFold
from tests.clocks import START_MS
from tests.crash.compared import difference, tally
from tests.crash.hours import ENDS, Killed, Story, in_one_go, run

TESTS = (
    "gross range", "user range", "climatology", "gap", "rate of change", "flat line", "attenuated signal",
    "spike", "maintenance",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """One in memory, where there is any: what is proven here is not what a disk keeps."""
    shared = Path("/dev/shm")  # noqa: S108  a folder of its own in it
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="suuaba-", dir=shared) as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("seed", "ends", "how"),
    [
        pytest.param(1, ("kill",), {}, id="kills"),
        pytest.param(2, ENDS, {"ph": "median", "suspect": True}, id="power cuts, stops and reboots too"),
    ],
)
def test_nine_hours(folder: Path, seed: int, ends: Sequence[str], how: dict[str, Any]) -> None:
    story, whole = run(folder, seed, 9.0, ends, **how)
    assert difference(story.records, whole) == []
    assert story.ends.keys() == set(ends)
    assert story.ends.total() > 60
    found = tally(story.records)
    # Something of everything was there to be compared.
    for length_s, windows, straddling in ((60, 1500, 150), (600, 200, 150), (3600, 30, 30), (86400, 4, 4)):
        assert found.windows[length_s] >= windows, found
        assert found.straddling[length_s] >= straddling, found
    assert found.corrected[60] >= 25, found
    assert found.corrected[600] >= 5, found
    assert {test for test in TESTS if not found.flags[test]} == set(), found
    assert found.flags.total() > 800, found
    for what in ("flagged", "not_averaged", "gap", "ledger", "visit", "correction", "clock_step"):
        assert found.events[what] >= 4, found
    # And it is an honest journal, after all those ends and a retention that took a good part of it.
    assert story.kept_from_seq > story.records[len(story.records) // 4].seq
    data, pack = folder / "killed" / "data", folder / "pack.zip"
    anyone = verify.trusted([str(data / "station.pub")], None)
    chain = verify.journal(data, anyone)
    assert (chain.wrong, chain.blocks > 2) == ([], True)
    toml = folder / "killed" / "station.toml"
    assert cli.main(["export", str(toml), "--evidence", "--output", str(pack)]) == 0
    assert evidence_check.pack(pack, anyone).wrong == []


# ── to the last letter, by hand ─────────────────────────────────────────────────────────────────────

# The clock says 10:00:12 when the machine has started; then a value each 10 s. 8.5 is a spike, and convicts
# its neighbours (method "average"); 7.4 of 10:00:27 comes late, when its minute has been given.
VALUES = [7.0, 7.0, 7.0, 8.5, 7.0, 7.0, 7.05, 7.1, 7.05, 7.0, 7.0, 7.05, 7.1, 7.05, 7.0, 7.0, 7.05, 7.1]
LATE = {11: (27_000, 7.4)}
FLAGS = [1, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
SPIKES = [(42_000, 7.0, 3), (52_000, 8.5, 4)]
"""When, what, and the flag that followed; of 7.0 behind it the rate of change said the same already."""
MINUTES = [  # begin, revision, mean, values used, flag
    (0, 0, 7.0, 2, 3),
    (0, 1, 7.133333, 3, 3),
    (60, 0, 7.04, 5, 1),
]


def test_three_minutes_killed_anywhere(folder: Path) -> None:
    """Behind each of the inputs, and at once again, so that nothing in the tail is left to be replayed."""

    async def killed(place: Path, at: int, commits: int) -> tuple[Story, list[Record]]:
        one, number = Killed(place / "killed", Quick(), ph="arithmetic"), 0

        async def done() -> None:
            nonlocal number
            number += 1
            if number % commits == 0:
                one.begin_commit()
                await one.committed()
            if number == at:
                await one.end("kill")
                await one.end("kill")

        await one.begin()
        for i, value in enumerate(VALUES):
            one.world.run(10.0)
            now = one.life.station.clock.stamp()
            one.life.read("ph1", {"ph": value}, now)
            await done()
            if i in LATE:
                utc_ms, late = START_MS + LATE[i][0], LATE[i][1]
                then = Stamp(utc_ms, now.boot, now.mono_ms - (now.utc_ms - utc_ms), True)
                one.life.read("ph1", {"ph": late}, then)
                await done()
            one.life.tick()
            await done()
        story = await one.close()
        return story, await in_one_go(place / "whole", story.inputs, ph="arithmetic")

    for at in range(1, 2 * len(VALUES) + len(LATE) + 1):
        story, whole = asyncio.run(killed(folder / f"{at}", at, 1))
        assert difference(story.records, whole) == [], f"killed behind input {at}"
        assert by_hand(story.records) == (FLAGS, SPIKES, MINUTES), f"killed behind input {at}"
    for at in range(2, 2 * len(VALUES), 5):
        story, whole = asyncio.run(killed(folder / f"{at} lost", at, 3))
        assert difference(story.records, whole) == [], f"killed behind input {at}, and up to two were lost"


class Quick(Random):
    """A process that is there again at once."""

    def choice(self, seq: Any) -> Any:
        return seq[0]


def by_hand(records: Sequence[Record]) -> tuple[list[int], list[Any], list[Any]]:
    bodies = [r.body for r in records]
    late = {START_MS + at_ms for at_ms, _ in LATE.values()}
    flags = [b.values["ph"].flag for b in bodies if isinstance(b, Reading) and b.at.utc_ms not in late]
    spikes = [
        (b.detail["time_ms"] - START_MS, b.detail["value"], b.detail["flag"])
        for b in bodies
        if isinstance(b, Event) and b.what == "flagged"
    ]
    minutes = []
    for b in bodies:
        if isinstance(b, Average) and b.length_s == 60:
            mean = b.values["ph"]
            begin_s = (b.start_ms - START_MS) // 1000
            minutes.append((begin_s, b.revision, round(mean.mean or 0.0, 6), mean.used, mean.flag))
    return flags, spikes, minutes


# ── the proof itself ────────────────────────────────────────────────────────────────────────────────


def forgets(*_: Any) -> None:
    """A fold that begins anew with the process."""


@pytest.mark.parametrize(
    ("fold", "what"),
    [
        (AveragesFold, "restore"),
        (SpikeFold, "restore"),
        (QualityMemory, "restore"),
        (CalibrationFold, "restore"),
        (MaintenanceFold, "restore"),
        (GapLedger, "restore"),
        (Folds, "replay"),
    ],
)
def test_what_a_restart_forgets_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fold: type, what: str
) -> None:
    monkeypatch.setattr(fold, what, forgets)
    story, whole = run(folder, 5, 0.5, ("kill",), often=0.3)
    assert difference(story.records, whole) != []
