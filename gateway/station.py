"""The station: puts the parts together, runs them under supervision, and ends in order.

The journal is opened before anything touches a network or a wire. Then every part runs by itself: a bus per
port, a follower per sink, the SMS sender, the clock tick of the folds, the watchdog. On SIGTERM the buses
finish the reading under way, the journal commits, the followers get what is left of five seconds, and
everything is closed; the rest is sent after the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from gateway.alarms import AlarmFold
from gateway.alarms_config import watch as watch
from gateway.alarms_standing import LastAlarms
from gateway.alarms_station import OwnWatch
from gateway.alarms_verb import alarms
from gateway.calibrate import Desk, Place
from gateway.calibration_fold import CalibrationFold
from gateway.calibration_setup import configured, wants
from gateway.capture import Capture
from gateway.clock import Clock
from gateway.clock_modem import UNCERTAINTY_MS
from gateway.config_apart import Reading
from gateway.config_station import systemd_socket
from gateway.control import Answer, ControlDoor, Request, Verb
from gateway.dating import ERROR_MS, DatingFold
from gateway.dating_release import Release
from gateway.evidence_config import ConfigurationFold
from gateway.evidence_heads import Heads
from gateway.follow import Follower
from gateway.journal import Journal
from gateway.ledger import GapLedger
from gateway.live import read_verb
from gateway.maintenance import MaintenanceFold
from gateway.model import Event, Record
from gateway.qc import Checks, expected
from gateway.qc_memory import QualityMemory
from gateway.qc_spike import spike_folds
from gateway.refused import RefusedFold, retry_verb
from gateway.scan_desk import Scans
from gateway.scan_verb import doctor_verb, scan_verb
from gateway.sinks import budgets, live_view
from gateway.sinks import make as make_sinks
from gateway.station_parts import Beat, average_folds, bus, health, place
from gateway.station_reread import Reread
from gateway.supervise import Defects, Notify, Pulse, supervise
from gateway.version import VERSION

if TYPE_CHECKING:
    from gateway import config
    from gateway.sms import SmsService
    from gateway.web.page import Page

log = logging.getLogger(__name__)

DRAIN_S = 1.5
"""How long the followers get at the end to deliver what is committed."""
FINISH_READING_S = 1.5
LEAVE_WITHIN_S = 1.0
TICK_S = 1.0
GC_AFTER = 20_000
"""Objects made and not freed before rings of garbage are looked for. Readings make none."""


class Station:
    """A station from its configuration. `open`, then `work` until it is stopped, then `close`."""

    def __init__(
        self,
        wanted: config.Station,
        *,
        notify: Notify | None = None,
        embedded_port: int = 1883,
        say: Callable[[str], object] | None = None,
    ) -> None:
        """`say`: a demo's voice; its page takes another port where its own is taken."""
        self.config = wanted
        self.embedded_port = embedded_port
        self.dating = DatingFold(UNCERTAINTY_MS if wanted.clock.source == "modem" else ERROR_MS)
        self.clock = Clock(wanted.clock.source, memory=self.dating)
        self.pulse = Pulse()
        self.alarms = AlarmFold(watch(wanted))
        self.last_alarms = LastAlarms()
        self.ledger = GapLedger({sensor.id: sensor.every_s for sensor in wanted.sensors})
        self.calibrations = CalibrationFold(*wants(wanted))
        self.maintenance = MaintenanceFold([s.id for s in wanted.sensors], self._in_maintenance)
        self.checks = {s.id: Checks(expected(s.expect), s.every_s) for s in wanted.sensors}
        self.refused = RefusedFold()
        self.budgets = budgets(wanted)
        self.configured = ConfigurationFold()
        self.journal = Journal(
            wanted.data,
            self.clock,
            folds=[
                self.dating,
                self.alarms,
                *spike_folds(wanted.sensors),
                *average_folds(wanted),
                QualityMemory(self.checks),
                self.last_alarms,
                self.configured,
                self.ledger,
                self.calibrations,
                self.maintenance,
                self.refused,
                *self.budgets.values(),
            ],
            commit_s=wanted.journal.commit_s,
            sync_s=wanted.journal.sync_s,
            keep_s=wanted.journal.keep_s,
            limit_bytes=wanted.journal.limit_bytes,
            make_key=True,
        )
        self._doctor = doctor_verb(wanted.file)
        self.sms = self._sms()
        self.buses = [bus(self, wire) for wire in wanted.wires]
        self.followers: dict[str, Follower] = {}
        self.live = live_view(wanted, self.journal)
        self.desk = self._desk()
        self.scans, self.capture = Scans(self), Capture(self)
        self.reread = Reread(self, self.clock.stamp)
        self.verbs: dict[str, Verb] = {
            **self.desk.verbs(),
            "status": self._status,
            "alarms": alarms(self.alarms, self.journal, self.clock.stamp),
            "retry": retry_verb(self),
            "scan": scan_verb(self.scans),
            "doctor": self._doctor,
            "read": read_verb(self),
        }
        """What the running service does for the command line (gateway.control)."""
        self.page = self._page(say)
        self._notify = notify or Notify(None)
        self._embedded: Any = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask `work` to end in order. Safe to call from a signal handler, and twice."""
        self._stopping.set()

    async def open(self) -> None:
        """Open the journal. Raises JournalError."""
        await self.journal.open()
        detail = {"version": VERSION, "left_out": list(self.config.left_out), **place(self.config)}
        at = self.clock.stamp()
        self.journal.append([Event(at, "started", detail), *configured(self.config, self.calibrations, at)])
        self.journal.append(self.configured.news(self.config.file, at))

    async def connect(self) -> None:
        """Make the sinks and their followers; none runs yet. Raises OSError: the embedded broker's port."""
        sinks, self._embedded = await make_sinks(
            self.config, self.clock.stamp, self.health, self._standing, embedded_port=self.embedded_port
        )
        stamp, hold_s = self.clock.stamp, self.config.clock.hold_s
        self.followers = {
            name: Follower(
                self.journal,
                name,
                sink,
                stamp=stamp,
                budget=self.budgets.get(name),
                release=Release(self.dating, self.journal, name, stamp=stamp, hold_s=hold_s),
            )
            for name, sink in sinks.items()
        }

    async def work(self) -> None:
        """Run until `stop`. Raises Defects or JournalError when the process must end."""
        await self.connect()
        async with asyncio.TaskGroup() as group:

            def start(part: str, run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
                return group.create_task(supervise(part, run, self._defect), name=part)

            keeper = start("journal", self.journal.run)
            buses = [start(f"bus.{one.name}", one.run) for one in self.buses]
            followers = [start(f"sink.{name}", follower.run) for name, follower in self.followers.items()]
            others = [start("tick", self._tick), start("chain", Heads(self.journal, self.clock.stamp).run)]
            if any(rule.watch for rule in self.config.rules):
                own = OwnWatch(self.journal, self.config.data, self.clock.stamp)
                others.append(start("own", own.run))
            others += [start("reread", self.reread.run), start("scan", self.scans.run)]
            others += [start("capture", self.capture.run)]
            others += [start("control", ControlDoor(self.config.data, self.verbs).run)]
            others += [start(part, run) for part, run in (self.sms.tasks if self.sms else {}).items()]
            if self.live is not None:
                others.append(start("grafana_live", self.live.run))
            if self.page is not None:
                others.append(start("web", self.page.run))
            self._notify.send("READY=1", f"STATUS=reading {len(self.config.sensors)} instruments")
            await self._stopping.wait()
            self._notify.send("STOPPING=1")
            await self._end(buses, followers, [*others, keeper])

    async def close(self) -> None:
        """Close the journal; a clean end is marked there. Raises JournalError."""
        await self.journal.close()
        if self._embedded is not None:
            await self._embedded.stop()

    def health(self) -> dict[str, Any]:
        """How every part is doing, for the status message."""
        return health(self)

    async def _status(self, request: Request) -> Answer:
        return self.health()

    def _desk(self) -> Desk:
        """Where calibrations are done."""
        places = {
            sensor.id: Place(sensor, functools.partial(one.ask, sensor))
            for one in self.buses
            for sensor in one.sensors
        }
        return Desk(
            self.config,
            places,
            append=self.journal.append,
            sync=self.journal.sync,
            stamp=self.clock.stamp,
            calibrations=self.calibrations,
            maintenance=self.maintenance,
        )

    def _defect(self, part: str, error: str) -> None:
        self.journal.append([Event(self.clock.stamp(), "defect", {"part": part, "error": error})])

    def _in_maintenance(self, sensor: str, on: bool) -> None:
        self.calibrations.live(sensor).maintenance = on

    def _standing(self) -> list[Record]:
        """The alarms' last states, as far as the live messages are past them."""
        return self.last_alarms.up_to(self.journal.cursor("mqtt"))

    def _sms(self) -> SmsService | None:
        """The SMS modem and provider; imported only for a station that has any."""
        if self.config.sms is None:
            return None
        from gateway.doctor_digest import DoctorDigest
        from gateway.sms import SmsService

        beat, stamp = Beat(self.pulse, "sms"), self.clock.stamp
        sms = SmsService(self.config, self.journal, self.alarms, stamp, beat, self.clock.tell)
        if sms.desk is not None:
            sms.tasks["sms.doctor"] = DoctorDigest(self.journal, self.alarms, stamp, self._doctor).run
        return sms

    def _page(self, say: Callable[[str], object] | None) -> Page | None:
        """The page; imported only for a station that has one."""
        if self.config.web is None:
            return None
        from gateway.web.page import Page

        return Page(self, any_port=say is not None, say=say)

    async def _tick(self) -> None:
        """Let the folds see time pass, and tell systemd that everything lives, or not.

        Goes along with a commit where there is one each second: a wake-up costs more than a reading.
        """
        loop = asyncio.get_running_loop()
        silent_before: list[str] = []
        while True:
            due_s = loop.time() + TICK_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s + TICK_S / 2):
                    while loop.time() < due_s - TICK_S / 10:
                        await self.journal.more(self.journal.committed_seq)
            self.journal.tick()
            self.desk.tick()
            silent = self.pulse.silent()
            if silent != silent_before:
                silent_before = silent
                if silent:
                    log.error("no sign of life from: %s", ", ".join(silent))
                else:
                    log.warning("all parts show life again")
            if not silent:
                self._notify.send("WATCHDOG=1")

    async def _end(
        self,
        buses: list[asyncio.Task[None]],
        followers: list[asyncio.Task[None]],
        others: list[asyncio.Task[None]],
    ) -> None:
        for one in self.buses:
            one.stop()
        if buses:
            _, late = await asyncio.wait(buses, timeout=FINISH_READING_S)
            await _cancel(late)
        self.journal.append([Event(self.clock.stamp(), "stopped", {})])
        await self.journal.sync()
        last_seq = self.journal.last_seq
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await asyncio.gather(*(follower.done(last_seq) for follower in self.followers.values()))
        await _cancel(followers)
        await _cancel(others)


async def run(reading: Reading) -> int:
    """`suuaba run`: the station until SIGTERM or SIGINT. Gives the exit code. Raises ConfigError,
    JournalError.
    """
    wanted = reading.station()
    for line in (*wanted.warnings, *wanted.left_out):
        log.warning("%s", line)
    station = Station(wanted, notify=Notify(systemd_socket()))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, station.stop)
    loop.add_signal_handler(signal.SIGHUP, station.reread.ask)
    code = await live(station)
    _leave_soon(code)
    return code


def _leave_soon(code: int) -> None:
    """End the process even if a thread hangs in a name look-up: the journal is closed, nothing waits for
    it.
    """
    timer = threading.Timer(LEAVE_WITHIN_S, os._exit, [code])
    timer.daemon = True
    timer.start()


async def live(station: Station, before_close: Callable[[], Coroutine[Any, Any, None]] | None = None) -> int:
    """Open, work and close a station; `before_close` may still read the journal. Gives the exit code."""
    await station.open()
    # What stands now stands until the end: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_AFTER, 10, 10)
    code = 0
    try:
        await station.work()
    except* Defects as group:
        for e in group.exceptions:
            log.error("ending: %s", e)
        code = 1
    finally:
        if before_close is not None:
            await before_close()
        await station.close()
    return code


async def _cancel(tasks: Any) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
