"""The centre's side, `suuaba collect`: what many stations publish, into InfluxDB. At least once, each point
once.

    broker ─ $share ─► Inbox ─► Points ─► one write of lines and bits ─► confirmed ─► acknowledged to the
    broker
                                   └► Poison: set aside with its reason, then acknowledged

Nothing is acknowledged before the database has it, so a collector may be killed at any moment: what it had
not acknowledged comes again, to it or to another, and writing a point twice leaves one. Which records are
there stands in the database beside them (gateway.collector_account), so the sum over all collectors is right
whoever died. One write is under way at a time: the bits of a later one must not be overwritten by an earlier.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.collector_account import BLOCK, Account, total
from gateway.collector_again import Asking, ask
from gateway.collector_aside import Aside
from gateway.collector_inbox import Broker, Inbox, Message
from gateway.collector_points import Points, Poison, Taken
from gateway.config_collector import Wanted, load
from gateway.influx import Door
from gateway.influx_answers import Answer, Verdict, verdict
from gateway.influx_doors import version1, version2
from gateway.supervise import Defects, Notify, supervise

log = logging.getLogger(__name__)

BATCH = 5000
"""Messages in a write at most."""
LINGER_S = 0.1
"""How long is waited for more, when there are fewer: a wake-up costs more than a message."""
PAUSE_S, PAUSE_CEILING_S = 0.5, 30.0
RESTORE_D = 1
"""Days of bits that are read back: what is counted is what came lately."""
_BY = "GROUP BY station, node"
_BITS = "SELECT block, seen FROM collected WHERE time > now() - 1d GROUP BY station, node"
_BITS_OF = "SELECT block, seen FROM collected WHERE time > now() - 1d AND node = "
STATUS_EVERY_S = 10.0


Placed = tuple[str, bytes, Taken]
"""Topic, payload, and what they mean."""


class Counts(msgspec.Struct):
    """What a collector has done since it started."""

    messages: int = 0
    records: int = 0
    doubles: int = 0
    writes: int = 0
    failures: int = 0
    too_old: int = 0
    asked: int = 0
    """Times a station was asked to send something once more."""


class Collector:
    """One collector. `run` until cancelled; everything it is may be read at any time."""

    def __init__(
        self,
        inbox: Inbox,
        door: Callable[[], Door],
        *,
        node: str,
        data: Path,
        now_ms: Callable[[], int],
        again_s: float = 600.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.inbox = inbox
        self.account = Account(node)
        self.points = Points()
        self.asking = Asking(again_s * 1000)
        self.counts = Counts()
        self.aside = Aside(data, now_ms)
        self.trouble = ""
        """Why the database does not take what it is given; empty: it does."""
        self.restored = False
        self._node, self._now_ms, self._jitter = node, now_ms, jitter
        self._make_door = door
        self._door: Door | None = None

    async def run(self) -> None:
        """Collect until cancelled."""
        await self._restore()
        self.inbox.open()
        try:
            while True:
                messages = await self.inbox.take(BATCH, LINGER_S)
                if messages:
                    async for records in self._read(messages):
                        await self._place(records)
                    self.inbox.confirm(messages)
        finally:
            await self.inbox.close()

    async def _read(self, messages: Sequence[Message]) -> AsyncIterator[list[Placed]]:
        """The records in the messages, as many as one write takes: a message may hold thousands."""
        taken: list[Placed] = []
        now_ms, started_s = self._now_ms(), time.monotonic()
        for message in messages:
            try:
                for topic, payload in self.points.parts(message.topic, message.payload):
                    if one := self._take(topic, payload, now_ms):
                        taken.append((topic, payload, one))
            except Poison as e:
                self.aside.put(message.topic, message.payload, str(e))
            if len(taken) >= BATCH:
                yield taken
                taken = []
            if time.monotonic() - started_s > 0.05:
                await asyncio.sleep(0)  # the page, and the watchdog, want to live too
                started_s = time.monotonic()
        self.counts.messages += len(messages)
        yield taken

    def _take(self, topic: str, payload: bytes, now_ms: int) -> Taken | None:
        """The record in one message, if there is one."""
        try:
            one = self.points.take(topic, payload, now_ms)
        except Poison as e:
            self.aside.put(topic, payload, str(e))
            return None
        if one.kind == "again":
            self.asking.heard(one.station, now_ms)
        return one if one.lines else None

    async def _place(self, records: Sequence[Placed]) -> None:
        """Write the records. Returns when the database has all that it can ever take."""
        now_ms = self._now_ms()
        for *_, one in records:
            if not self.account.add(one.station, one.seq, now_ms):
                self.counts.doubles += 1
        parts = [records] if records else []
        while parts:
            part = parts.pop()
            lines = [one.lines for *_, one in part]
            if not parts:  # with the last of them: the bits must not say more than what is there
                lines += self.account.lines()
            refusal = await self._write(lines)
            if refusal is None:
                self.counts.records += len(part)
                if not parts:
                    self.account.written()
            elif len(part) == 1:
                topic, payload, one = part[0]
                self.account.remove(one.station, one.seq)
                self.aside.put(topic, payload, f"the database refuses it: {refusal}")
            else:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
        if bits := list(self.account.lines()):  # none, but where the last was refused
            await self._write(bits)
            self.account.written()

    async def _write(self, lines: list[str]) -> str | None:
        """Write the lines; give why not, when one of them is refused. Tries for ever while nobody answers."""
        body = "\n".join(lines).encode("utf-8", "replace")
        failures = 0
        while True:
            answer = await self._post(body)
            match verdict(answer):
                case Verdict.WRITTEN:
                    break
                case Verdict.TOO_OLD:
                    self.counts.too_old += 1
                    break
                case Verdict.REFUSED | Verdict.TOO_LARGE:
                    return answer.text.strip()[:300] or str(answer.status)
                case Verdict.NO_DATABASE if failures == 0:
                    await asyncio.to_thread(self._create)
            failures += 1
            self.counts.failures += 1
            why = f"{self._where()}: {answer.status or 'no answer'} {answer.text.strip()[:200]}"
            if not self.trouble:
                log.warning("influxdb: %s", why)
            self.trouble = why
            ceiling_s = min(PAUSE_CEILING_S, PAUSE_S * 2.0 ** min(failures, 20))
            await asyncio.sleep(max(self._jitter() * ceiling_s, answer.retry_after_s or 0.05))
        if self.trouble:
            log.warning("influxdb: takes what it is given again")
            self.trouble = ""
        self.counts.writes += 1
        return None

    async def _post(self, body: bytes) -> Answer:
        def post() -> Answer:
            try:
                return self._opened().write(body, "ns")
            except OSError as e:
                return Answer(0, str(e))

        return await asyncio.to_thread(post)  # its deadlines are the door's own

    async def _restore(self) -> None:
        """Fetch this collector's own bits, so that it goes on where it was. Tries until the database
        answers.
        """
        failures = 0
        while not self.restored:
            try:
                for row in await asyncio.to_thread(self.bits, self._node):
                    station, number, seen, opened_ms = row
                    self.account.merge(station, number, seen, opened_ms)
                self.restored = True
            except OSError as e:
                failures += 1
                if failures == 1:
                    log.warning("influxdb: %s: %s; waiting for it", self._where(), e)
                self.trouble = str(e)
                await asyncio.sleep(self._jitter() * min(PAUSE_CEILING_S, PAUSE_S * 2.0 ** min(failures, 20)))
        self.trouble = ""

    def bits(self, node: str = "") -> list[tuple[str, Any, Any, int]]:
        """The bits in the database: (station, block, seen, opened_ms), of one collector or of all. Blocks;
        raises OSError.
        """
        answer = self._opened().query(_BITS if not node else f"{_BITS_OF}{_quoted(node)} {_BY}")
        found = []
        for result in answer.get("results", []):
            for series in result.get("series", []):
                station = series.get("tags", {}).get("station", "")
                for at_ns, number, seen in series.get("values", []):
                    found.append((station, number, seen, int(at_ns) // 1_000_000))
        return found

    def everybody(self) -> Account:
        """What all collectors together have written, as the database has it. Blocks; raises OSError."""
        whole = Account()
        for station, number, seen, opened_ms in self.bits():
            whole.merge(station, number, seen, opened_ms)
        for seen_of in whole.stations.values():
            seen_of.floor = min(seen_of.blocks, default=0) * BLOCK  # what came before is not asked for
        return whole

    def _opened(self) -> Door:
        if self._door is None:
            self._door = self._make_door()
        return self._door

    def _create(self) -> None:
        door = self._opened()
        try:
            if door.create():
                log.warning("influxdb: %s did not exist and was created", door.where)
            else:
                log.error("influxdb: %s is not there; %s", door.where, door.remedy)
        except OSError as e:
            log.debug("creating it: %s", e)

    def _where(self) -> str:
        return self._door.where if self._door is not None else "influxdb"


def _quoted(text: str) -> str:
    """A string in InfluxQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def door(wanted: Wanted) -> Callable[[], Door]:
    """The way into the database that the file names."""
    influxdb = wanted.influxdb
    if influxdb.version == 1:
        password = influxdb.password.get_secret_value() if influxdb.password else None
        return version1(
            influxdb.url,
            influxdb.database or "",
            username=influxdb.username,
            password=password,
            ca=influxdb.ca,
        )
    token = influxdb.token.get_secret_value() if influxdb.token else None
    bucket = influxdb.bucket or influxdb.database or ""
    return version2(influxdb.url, influxdb.org or "", bucket, token=token, ca=influxdb.ca)


def make(wanted: Wanted, now_ms: Callable[[], int]) -> Collector:
    """A collector from its configuration."""
    mqtt = wanted.mqtt
    broker = Broker(
        mqtt.url,
        wanted.name,
        wanted.group,
        mqtt.username,
        mqtt.password.get_secret_value() if mqtt.password else None,
        mqtt.ca,
        mqtt.certificate,
        mqtt.key,
        int(mqtt.session_s),
        mqtt.window,
    )
    again_s = wanted.again_s or 0.0
    return Collector(
        Inbox(broker), door(wanted), node=wanted.name, data=wanted.data, now_ms=now_ms, again_s=again_s
    )


async def run(file: Path) -> int:
    """`suuaba collect`: until SIGTERM or SIGINT. Gives the exit code. Raises ConfigError."""
    from gateway.clock import system_ms
    from gateway.config_station import systemd_socket

    wanted = load(file)
    for line in wanted.warnings:
        log.warning("%s", line)
    collector = make(wanted, system_ms)
    notify = Notify(systemd_socket())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(supervise("collect", collector.run), name="collect")]
    if (again_s := wanted.again_s) is not None:
        asking = supervise("again", lambda: ask(collector, again_s, system_ms))
        tasks.append(asyncio.create_task(asking, name="again"))
    tasks.append(asyncio.create_task(_tell(collector, notify), name="notify"))
    if wanted.web is not None:
        from gateway.collector_page import serve

        tasks.append(
            asyncio.create_task(supervise("page", lambda: serve(collector, wanted, system_ms)), name="page")
        )
    notify.send("READY=1")
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    notify.send("STOPPING=1")
    for task in [*tasks, stopping]:
        task.cancel()
    await asyncio.wait([*tasks, stopping], timeout=4.0)
    code = 0
    for task in done - {stopping}:
        try:
            task.result()
        except Defects as e:
            log.error("ending: %s", e)
            code = 1
    return code


def accounts(file: Path, say: Callable[[str], None]) -> int:
    """`suuaba collect --accounts`: what all collectors together have of each station, from the database.
    Gives the exit code: 1 when numbers are missing. Blocks; raises ConfigError.
    """
    from gateway.clock import system_ms

    collector = make(load(file), system_ms)
    try:
        whole = collector.everybody()
    except OSError as e:
        log.error("influxdb: %s", e)
        return 1
    missing = 0
    for station, seen in sorted(whole.stations.items()):
        first, last = seen.ends() or (0, 0)
        holes = seen.holes()
        there, absent = seen.count(0, last), total(holes)
        missing += absent
        which = ", ".join(f"{a}" if a == b else f"{a}…{b}" for a, b in holes[:5])
        tail = f"; not there: {absent} ({which}{', …' if len(holes) > 5 else ''})" if holes else ""
        say(f"{station}: {there} records, numbers {first} to {last}{tail}")
    return 1 if missing else 0


async def _tell(collector: Collector, notify: Notify) -> None:
    """Tell systemd that the loop turns, and how it goes."""
    while True:
        counts = collector.counts
        trouble = collector.trouble or collector.inbox.why
        status = f"{counts.records} records of {len(collector.points.standing)} stations"
        notify.send("WATCHDOG=1", f"STATUS={status}{f'; {trouble}' if trouble else ''}")
        await asyncio.sleep(STATUS_EVERY_S)
