"""The whole station, killed at random moments while its broker and its database come and go; then the sum.

The instruments are emulated outside, so their record outlives the station. What they answered is held against
the journal, what a second MQTT client got and the points in InfluxDB.
"""

from __future__ import annotations

import logging
import signal
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from drivers.emulators.record import Said
from gateway import config, verify
from gateway.model import Reading, Record
from tests.crash.again import again
from tests.crash.compared import Tally
from tests.services import InfluxDB, Mosquitto, running, until
from tests.site import KEEPING, Keeper, Site, events, journaled, site, stored, unsaid

log = logging.getLogger(__name__)

COMMITS_S = (0.1, 0.1, 0.1, 1.0)
"""The commit interval of a life: mostly short, so that a short life keeps something; or the default."""
QUALITY = """gross = [0, 14]
usual = [6, 7.2]
spike = [0.001, 0.002]
gap = "1 s"
rate = "0.5 / 1 min"
flat = { within = 0.05, suspect = "2 s", fail = "20 s" }
attenuated = { over = "10 s", suspect = 0.1 }
"""
"""Tests of ph1 that remember what a kill must not take away, so narrow that any river fails them."""
TICKS_S = 2.5
"""Most lives end before the folds see time pass (gateway.station.TICK_S); the last one does not."""
LONG_EVERY, LONG_S = 25, 12.0
"""One life of so many goes on for so long: a spike needs three readings in a row, a signal 10 s."""


@dataclass
class Sum:
    """What came out. Behind `late_s` everything should be zero."""

    kills: int = 0
    answered: int = 0
    """Numbers, each from one answer of one instrument."""
    journaled: int = 0
    missing: int = 0
    """Answered and not journaled: all of them the last before a kill."""
    late_s: float = float("-inf")
    """How long before its kill, beyond the commit interval of that life, the oldest of them was answered."""
    out_of_order: int = 0
    """Missing although something later of the same instrument and life is there."""
    invented: int = 0
    """Journaled, and no instrument said so."""
    reused: int = 0
    """Numbers that MQTT saw with two contents, or with another content than the journal has."""
    lost_mqtt: int = 0
    lost_influxdb: int = 0
    doubled_influxdb: int = 0
    holes: int = 0
    """Numbers missing in the journal: after kills there are none."""
    losses: int = 0
    """Losses that the journal claims: after kills there are none."""
    broken_chain: int = 0
    """What `suuaba verify` finds wrong with the journal."""
    otherwise: int = 0
    """Flags, verdicts and averages that the same readings in one go make otherwise (tests.crash.again)."""
    flags: int = 0
    """So many values had their flag compared."""
    compared: Tally = field(default_factory=Tally)
    """What of these was compared."""

    @property
    def wrong(self) -> dict[str, float]:
        """What should be zero and is not."""
        fine = ("kills", "answered", "journaled", "missing", "late_s", "flags", "compared")
        return {name: figure for name, figure in asdict(self).items() if figure and name not in fine}


@dataclass
class Killer:
    """Kills a site's station over and over."""

    place: Site
    broker: Mosquitto
    influxdb: InfluxDB
    random: Random
    ends_s: list[float] = field(default_factory=list)
    """When the station was certainly dead, on the emulators' clock."""
    commits_s: list[float] = field(default_factory=list)
    down: set[str] = field(default_factory=set)

    def life(self) -> None:
        """Start the station, and kill it: now and then while it starts, mostly while it works."""
        random = self.random
        text = self.place.file.read_text()
        head, _, tail = text.partition("[journal]\n")
        lines = [line for line in tail.splitlines() if not line.startswith("commit")]
        self.commits_s.append(random.choice(COMMITS_S))
        commit = f'commit = "{self.commits_s[-1]:g} s"'
        self.place.file.write_text("\n".join([f"{head}[journal]", commit, *lines]) + "\n")
        said = len(self.place.outside.record.snapshot())
        long = len(self.ends_s) % LONG_EVERY == LONG_EVERY // 2
        self.place.start()
        if random.random() < 0.25 and not long:
            time.sleep(random.uniform(0.0, 0.7))
        else:
            until("an instrument's answer", lambda: len(self.place.outside.record.snapshot()) > said, 60)
            time.sleep(random.uniform(0.0, 0.3))
            self.toggle()
            time.sleep(LONG_S if long else random.uniform(0.0, 0.5))
        self.place.stop(signal.SIGKILL)
        self.ends_s.append(time.monotonic())

    def toggle(self) -> None:
        """Perhaps take the broker or the database away, or bring it back."""
        for name, server in (("broker", self.broker), ("influxdb", self.influxdb)):
            if self.random.random() < (0.4 if name in self.down else 0.2):
                if name in self.down:
                    server.start()
                    self.down.remove(name)
                else:
                    # Mosquitto keeps its clients' messages only when it may write them down at its end.
                    server.stop() if name == "broker" else server.kill()
                    self.down.add(name)

    def finish(self) -> tuple[list[Record], dict[str, int]]:
        """Let everything arrive; give the journal."""
        for name, server in (("broker", self.broker), ("influxdb", self.influxdb)):
            if name in self.down:
                server.start()
        for _ in range(10):
            said = len(self.place.outside.record.snapshot())
            self.place.start()
            until("answers", lambda said=said: len(self.place.outside.record.snapshot()) > said + 12, 60)
            time.sleep(TICKS_S)
            self.place.stop()
            records, cursors = self.place.journal()
            if min(cursors.values()) == records[-1].seq:
                return records, cursors
        raise AssertionError(f"not delivered in ten lives: {cursors}, {records[-1].seq}")


def killed(folder: Path, kills: int, seed: int, mqtt: str = "") -> Sum:
    """So many kills on real servers in this folder, and what came out. `mqtt`: more lines of that section."""
    mosquitto = folder / "mosquitto"
    with (
        running(Mosquitto(mosquitto, settings=KEEPING.format(folder=mosquitto))) as broker,
        running(InfluxDB(folder / "influxdb")) as influxdb,
        site(folder, broker, influxdb) as place,
    ):
        quick = place.file.read_text().replace('every = "2 s"', 'every = "400 ms"')
        quick = quick.replace('every = "1 s"', 'every = "400 ms"')
        usual = "gross = [0, 14]\nusual = [6, 9]\nspike = [0.5, 1.0]\n"
        assert usual in quick
        quick = quick.replace("[mqtt]\n", f"[mqtt]\n{mqtt}\n")
        place.file.write_text(quick.replace(usual, QUALITY))
        place.program = "tests.crash.quick"
        keeper = Keeper(broker.port)
        killer = Killer(place, broker, influxdb, Random(seed))
        for _ in range(kills):
            killer.life()
        records, _ = killer.finish()
        readings = {r.seq: r.body for r in records if isinstance(r.body, Reading)}
        keeper.wait("every reading by MQTT", lambda got: set(keeper.seqs()) >= set(readings), 60)
        found = Sum(kills=kills)
        heard = place.outside.record.snapshot()
        every_s = {sensor.id: sensor.every_s for sensor in config.load(place.file).sensors}
        reconcile_instruments(found, heard, list(readings.values()), killer, unsaid(heard, records, every_s))
        reconcile_mqtt(found, keeper.got, readings)
        kept, points = journaled(records), stored(influxdb)
        found.lost_influxdb = (kept - points).total()
        found.doubled_influxdb = (points - kept).total()
        found.holes = records[-1].seq - len(records)
        found.losses = len(events(records, "loss"))
        data = place.folder / "data"
        chain = verify.journal(data, verify.trusted([str(data / "station.pub")], None))
        once_more = again(records, config.load(place.file))
        found.otherwise = len(once_more.differ)
        found.flags, found.compared = once_more.flags, once_more.compared
        log.warning("in one go: %s", once_more.differ[:3])
        found.broken_chain = len(chain.wrong) + (chain.blocks < 2)
        keeper.close()
    return found


def reconcile_instruments(
    found: Sum, said: list[Said], kept: list[Reading], killer: Killer, unsaid: list[Said] | None = None
) -> None:
    """Each number was answered once; what is missing are the last answers before a kill. `unsaid` are those
    of which the journal says nothing (tests.site.unsaid); None: all.
    """
    ends_s = killer.ends_s
    answers = [
        (one, (one.name, name, value))
        for one in said
        if one.asked and not one.spoiled
        for name, value in one.values.items()
    ]
    numbers = [
        (reading.at.utc_ms, (reading.sensor, name, value.raw))
        for reading in kept
        for name, value in reading.values.items()
    ]
    found.answered, found.journaled = len(answers), len(numbers)
    by_content = defaultdict(list)
    for i, (_, content) in enumerate(answers):
        by_content[content].append(i)
    taken: set[int] = set()
    for utc_ms, content in numbers:
        free = [i for i in by_content[content] if i not in taken]
        nearest = min(free, key=lambda i: abs(answers[i][0].utc_ms - utc_ms), default=None)
        if nearest is None:
            found.invented += 1
        else:
            taken.add(nearest)
    last_taken: dict[tuple[str, int], float] = {}
    for i in taken:
        one = answers[i][0]
        life = one.name, bisect_left(ends_s, one.at_s)
        last_taken[life] = max(last_taken.get(life, 0.0), one.at_s)
    for i, (one, _) in enumerate(answers):
        if i in taken:
            continue
        life_number = bisect_left(ends_s, one.at_s)
        found.missing += 1
        if one.at_s < last_taken.get((one.name, life_number), 0.0) or life_number == len(ends_s):
            found.out_of_order += unsaid is None or one in unsaid
        else:
            late_s = ends_s[life_number] - one.at_s - killer.commits_s[life_number]
            found.late_s = max(found.late_s, late_s)


def reconcile_mqtt(found: Sum, got: list[tuple[str, Any]], readings: dict[int, Reading]) -> None:
    contents: dict[int, set[str]] = defaultdict(set)
    for topic, said in got:
        if topic.split("/")[3] == "reading":
            raw = {name: value["raw"] for name, value in said["values"].items()}
            contents[said["seq"]].add(repr((said["sensor"], said["time"], sorted(raw.items()))))
            reading = readings.get(said["seq"])
            if reading is None:
                found.lost_mqtt += 1  # the broker had it, and the journal has not
            elif {name: value.raw for name, value in reading.values.items()} != raw:
                found.reused += 1
    found.reused += sum(len(some) > 1 for some in contents.values())
    found.lost_mqtt += len(set(readings) - set(contents))
