"""Kills of the whole station and power cuts of its journal, many more than the tests have time for.

    python -m tests.bench.crash --kills 1000 --states 30000

Kills: kill -9 at random moments, broker and database coming and going (tests/crash/kills.py). States: disks
as a power cut may leave them, at every recorded call (tests/crash/proof.py), and again while it recovers.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from random import Random

from tests.crash.kills import Sum, killed
from tests.crash.proof import Tally, compiled, cuts, prove_again, prove_all, recorded
from tests.crash.writer import small

Row = tuple[str, str, str]
KILLS_AT_ONCE = 100
"""Kills on one journal and one pair of servers; then the sum, and a new site."""


def run(kills: int = 100, states: int = 6000, seed: int = 1) -> list[Row]:
    return [*_power_cuts(states, seed), *_kills(kills, seed)]


def _power_cuts(states: int, seed: int) -> list[Row]:
    small()
    logging.disable(logging.ERROR)  # every start has something to say
    once, twice = Tally(), Tally()
    began_s = time.monotonic()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  a folder of its own in it
    with tempfile.TemporaryDirectory(prefix="suuaba-crash-", dir=memory) as name:
        folder = Path(name)
        (folder / "open").mkdir()
        recorder = compiled(folder)
        while once.states + twice.states < states:
            random = Random(seed)
            story = recorded(recorder, folder, seed=seed, boot="boot0001", steps=300, start={})
            prove_all(folder / "open", cuts(story, random, torn=2), once)
            for _ in range(5):
                prove_again(folder, recorder, story, random, twice, steps=30)
            seed += 1
    logging.disable(logging.NOTSET)
    lost = max(once.lost_most, twice.lost_most)
    return [
        ("power cut: disks opened, all promises kept", "10000s", f"{once.states}"),
        ("power cut while recovering from one: the same", "1000s", f"{twice.states}"),
        ("power cut: disks that had lost something, and said so", "", f"{once.lossy + twice.lossy}"),
        ("power cut: unsynced records lost at once, at most", "", f"{lost}"),
        (
            "power cut: ms a disk",
            "",
            f"{(time.monotonic() - began_s) / (once.states + twice.states) * 1000:.1f}",
        ),
    ]


def _kills(kills: int, seed: int) -> list[Row]:
    began_s = time.monotonic()
    sums = []
    while sum(one.kills for one in sums) < kills:
        at_once = min(KILLS_AT_ONCE, kills - sum(one.kills for one in sums))
        with tempfile.TemporaryDirectory(prefix="suuaba-kills-") as name:
            sums.append(killed(Path(name), at_once, seed + len(sums)))

    def total(what: str) -> str:
        return str(sum(getattr(one, what) for one in sums))

    return [
        ("kill -9 at random moments", "1000", total("kills")),
        ("kill -9: numbers the instruments gave", "", total("answered")),
        ("kill -9: of them the last before a kill, not journaled", "", total("missing")),
        ("kill -9: missing though something later is there", "0", total("out_of_order")),
        (
            "kill -9: the oldest missing, s beyond the commit interval",
            "",
            f"{max(s.late_s for s in sums):.2f}",
        ),
        ("kill -9: journaled and not in MQTT, or the other way", "0", total("lost_mqtt")),
        ("kill -9: journaled and not in InfluxDB", "0", total("lost_influxdb")),
        ("kill -9: doubled in InfluxDB", "0", total("doubled_influxdb")),
        ("kill -9: numbers used for two records", "0", total("reused")),
        ("kill -9: holes in the journal, losses it claims", "0", f"{total('holes')}, {total('losses')}"),
        ("kill -9: flags, averages made otherwise in one go", "0", total("otherwise")),
        ("kill -9: of flags, of averages compared", "", f"{total('flags')}, {_windows(sums)}"),
        ("kill -9: s a kill", "", f"{(time.monotonic() - began_s) / kills:.2f}"),
    ]


def _windows(sums: list[Sum]) -> int:
    return sum(one.compared.windows.total() for one in sums)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--states", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    for what, goal, figure in run(wanted.kills, wanted.states, wanted.seed):
        print(f"{what:62} {goal:>8}  {figure}", flush=True)
