"""A world with a true time, and a machine in it whose clocks are wrong in the ways that clocks are."""

from __future__ import annotations

import asyncio

from gateway.clock import Clock, Machine, Source
from gateway.dating import DatingFold
from gateway.model import Body, Event, Reading, Record, Stamp, Value

START_MS = 1_795_428_000_000  # 2026-11-23T10:00:00Z
HOUR_S, DAY_S, YEAR_S = 3600.0, 86_400.0, 365 * 86_400.0
SECOND_BOOT_S = 12.0
"""How long after power-on a station begins."""


class World(Machine):
    """The true time, and one machine: off, or in a boot whose clocks drift until they are disciplined."""

    def __init__(self, drift_ppm: float = 0.0) -> None:
        self.true_ms = float(START_MS)
        self.drift_ppm = drift_ppm
        self.is_synced = False
        self.rtc_off_s: float | None = None
        """How far the hardware clock is from the truth; None: there is none."""
        self._boots = 0
        self._mono_ms = 0.0
        self._system_ms = 0.0

    def power_on(self, system_ms: float = 0.0) -> None:
        """A new boot; the system clock begins at this."""
        self._boots += 1
        self._mono_ms, self._system_ms, self.is_synced = 0.0, system_ms, False
        self.run(SECOND_BOOT_S)

    def run(self, seconds: float) -> None:
        ms = seconds * 1000
        self.true_ms += ms
        own_ms = ms if self.is_synced else ms * (1 + self.drift_ppm * 1e-6)
        self._mono_ms += own_ms
        self._system_ms += own_ms

    def off(self, seconds: float) -> None:
        self.true_ms += seconds * 1000

    def sync(self) -> None:
        """A time daemon steps the clock to the truth, and disciplines it from now on."""
        self._system_ms, self.is_synced = self.true_ms, True

    def unsync(self) -> None:
        """Its servers are gone for so long that the kernel does not trust it any more."""
        self.is_synced = False

    def set_by_hand(self, step_s: float) -> None:
        """settimeofday(2): the kernel forgets that it was disciplined (ntp_clear in kernel/time/ntp.c)."""
        self._system_ms += step_s * 1000
        self.is_synced = False

    def lie(self, step_s: float) -> None:
        """A time daemon that was told a time so far from the truth, and believes it."""
        self._system_ms = self.true_ms + step_s * 1000
        self.is_synced = True

    # ── gateway.clock.Machine ──

    def boot(self) -> str:
        return f"boot{self._boots:04}"

    def read_ms(self) -> tuple[int, int]:
        return round(self._system_ms), round(self._mono_ms)

    def synced(self) -> bool:
        return self.is_synced

    def rtc_s(self) -> float | None:
        return None if self.rtc_off_s is None else self.true_ms / 1000 + self.rtc_off_s


class LoopWorld(World):
    """Its time goes with the event loop's."""

    def __init__(self, drift_ppm: float = 0.0) -> None:
        super().__init__(drift_ppm)
        self._loop_s: float | None = None

    def catch_up(self) -> None:
        """To be called before anything is done to it."""
        now_s = asyncio.get_running_loop().time()
        passed_s = 0.0 if self._loop_s is None else now_s - self._loop_s
        self._loop_s = now_s
        self.run(passed_s)

    def read_ms(self) -> tuple[int, int]:
        self.catch_up()
        return super().read_ms()


class Station:
    """Clock, fold and a journal in memory, as the station has them; and what the truth was of each record."""

    def __init__(self, world: World, source: Source = "ntp") -> None:
        self.world, self.source = world, source
        self.records: list[Record] = []
        self.true_ms: dict[int, float] = {}
        self.kept = (0, b"[]")
        """A state of the fold on the disk, and the seq it belongs to."""
        self._seq = 0
        self.fold = DatingFold()
        self.clock = Clock(source, memory=self.fold, machine=world)

    def start(self) -> None:
        """The process begins, after a kill or in a new boot: state and records come from the disk."""
        self.fold = DatingFold()
        seq, state = self.kept
        self.fold.restore(state)
        for record in self.records:
            if record.seq > seq:
                self.fold.step(record)
        self.clock = Clock(self.source, memory=self.fold, machine=self.world)

    def settle(self) -> None:
        """The state of the fold goes to the disk."""
        self.kept = (self._seq, self.fold.save())

    def lose(self, count: int) -> None:
        """A power cut takes the last records, as far as no state was kept behind them."""
        for _ in range(count):
            if self.records and self.records[-1].seq > self.kept[0]:
                self.records.pop()

    def append(self, *bodies: Body) -> list[Record]:
        waiting, made = list(bodies), []
        derived = False
        while waiting:
            self._seq += 1
            record = Record(self._seq, waiting.pop(0))
            self.true_ms[record.seq] = self.world.true_ms
            made.append(record)
            more = self.fold.step(record)
            derived = derived or bool(more)
            waiting += more
        self.records += made
        if derived:
            self.settle()  # what was derived and the state are one commit
        return made

    def read(self) -> Record:
        """Take one reading."""
        at = self.clock.stamp()
        return self.append(Reading("ph1", "m", "water", at, {"ph": Value(7.0, 7.0, "pH", 1)}))[0]

    def tick(self) -> None:
        self.append(*self.fold.tick(self.clock.stamp()))

    def run(self, seconds: float, every_s: float = 10.0) -> list[Record]:
        """Read at that rate for so long."""
        records = []
        for _ in range(int(seconds / every_s)):
            self.world.run(every_s)
            self.tick()
            records.append(self.read())
        return records

    def events(self, what: str) -> list[dict[str, object]]:
        return [r.body.detail for r in self.records if isinstance(r.body, Event) and r.body.what == what]

    def error_ms(self, record: Record, sink: str = "") -> float:
        """How far the date of a record is from the truth."""
        return self.fold.date(record.body.at, sink).utc_ms - self.true_ms[record.seq]

    def stamps(self) -> list[Stamp]:
        return [record.body.at for record in self.records]
