"""The InfluxDB sink: line protocol made here, written to version 1 by our own hands and to 2 and 3 by
influxdb-client.

    water,station=kanysh-kyia-1,sensor=ph1 ph=7.1,ph_raw=7.12,ph_flag=1i 1795428000000
    └ medium  └ tags: these two only       └ fields                     └ ms

A point is told by measurement, tags and time, so writing it twice leaves one. Events may fall into the same
millisecond, and a tag more would double points when it changes; so an event's time is its millisecond plus
its sequence number (modulo a million) as nanoseconds: the same each time it is sent, another for each event,
right to the millisecond. Events therefore go in a request of their own with precision ns.

    event,station=kanysh-kyia-1 what="clock_step",detail="{\\"step_ms\\":412}",seq=18231i 1795428000000018231

What dashboards ask for stands as fields of its own too: an alarm's rule, state, quantity, priority, value and
limit, and in `started` the station's name, latitude and longitude.

An average stands at its window's start, as `GROUP BY time(1m)` puts its own, so that both lie on each other:

    water_1min,station=kyia-1,sensor=ph1 ph=7.1,ph_min=7.0,ph_max=7.2,ph_n=6i,ph_of=6i,ph_flag=1i,revision=0i

A point whose time was put right afterwards, or is not known, says how far it may be off: uncertainty_ms=80i.
The event "flagged" also writes the corrected flag over the one of its point, in which the rest stays:

    water,station=kanysh-kyia-1,sensor=ph1 ph_flag=4i 1795428000000000000

Sources: InfluxDB 1.8 documentation, "InfluxDB line protocol reference" and "InfluxDB API reference" (/write,
/query); InfluxDB 2.7 documentation, "Write data with the InfluxDB API"; answers checked against InfluxDB
1.6.7 and VictoriaMetrics 1.79 (/api/v2/write).
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from gateway.errors import Refused, Unreachable
from gateway.influx_answers import Answer as Answer
from gateway.influx_answers import Verdict, verdict
from gateway.influx_lines import Lines as Lines
from gateway.model import Average, Body, Event, Reading, Record
from gateway.tcp import SYN_BYTES, Carried, opens

log = logging.getLogger(__name__)

LINES = 5000
"""Lines in a request at most; the maker's own advice for batches, and the best rate measured."""
SMALLEST = 100
"""Lines in a request on a line that is slow, or damages what it carries."""
REQUEST_S = 30.0
"""A request may take this long, connecting included. Not the end of a station: requests run in threads nobody
waits for.
"""
HANGING_LIMIT = 6
"""Requests that outlived their deadline and still hold a thread; with so many no new one is begun."""
SAY_EVERY_S = 3600.0


class Door(Protocol):
    """One way into a database. Blocks; called in a thread."""

    where: str
    """The address and database, for messages."""
    remedy: str
    """What to do when the database is not there."""

    def write(self, lines: bytes, precision: str) -> Answer:
        """Write lines; precision "ms" or "ns". Raises OSError when there was no answer."""
        ...

    def create(self) -> bool:
        """Try to create the missing database; whether it is there now. Raises OSError."""
        ...

    def query(self, question: str) -> dict[str, Any]:
        """Ask in InfluxQL; times in ns. Raises OSError when there was no answer, or an error."""
        ...

    def close(self) -> None:
        """Let go of the connections that wait for use. Does not block."""
        ...

    carried: Carried
    """What its connections carry."""
    address: tuple[str, int]


class InfluxSink:
    """A sink for `gateway.follow`. `door` makes the way into the database, in a thread, at first use."""

    in_flight = 3  # the server works on one while the next is made and sent; more gained nothing steady
    beat_s: float | None = None
    history_per_s = math.inf

    def __init__(
        self,
        station: str,
        door: Callable[[], Door],
        *,
        send: Sequence[str] = ("reading", "event"),
        averages_s: Collection[float] = (),
    ) -> None:
        self.batch_records = LINES
        self.batch_bytes = 4 * 1024 * 1024
        self.too_old = 0
        """Points that the database did not keep because they are older than its retention policy."""
        self._lines = Lines(station)
        self._readings = "reading" in send
        self._events = "event" in send
        self._averages_s = frozenset(averages_s)
        self._make_door = door
        self._door: Door | None = None
        self._making = threading.Lock()
        self._create_tried = False
        self._hanging = 0
        self._said_s = -math.inf
        self._unsaid = 0
        self._under_way: list[asyncio.Future[bool]] = []

    def wants(self, body: Body) -> bool:
        if isinstance(body, Average):
            return body.length_s in self._averages_s
        if isinstance(body, Reading):
            return bool(body.values) and self._readings
        return self._events or (self._readings and body.what == "flagged")

    @property
    def carried_bytes(self) -> int:
        return self._door.carried.bytes if self._door is not None else 0

    def corrects(self, body: Body) -> bool:
        return _corrects(body)

    async def deliver(self, records: Sequence[Record], *, late: bool = False) -> None:
        """Write the records. Raises as `gateway.follow.Sink` says."""
        earlier = list(self._under_way)
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._under_way.append(written)
        try:
            if earlier and any(_corrects(record.body) for record in records):
                await asyncio.wait(earlier)  # what is corrected may be among them, and must not come after
                if not all(one.result() for one in earlier):
                    raise Unreachable(f"{self._where}: the batch before this one is not written yet")
            await self._deliver(records)
            written.set_result(True)
        finally:
            if not written.done():
                written.set_result(False)
            self._under_way.remove(written)

    async def _deliver(self, records: Sequence[Record]) -> None:
        for precision in ("ms", "ns"):
            some = [record for record in records if isinstance(record.body, Event) == (precision == "ns")]
            while some:  # a batch that comes again may be larger than what the line now bears
                part, some = some[: self.batch_records], some[self.batch_records :]
                await self._write(part, precision)
        if len(records) >= self.batch_records < LINES:
            self.batch_records = min(LINES, self.batch_records * 2)  # the line is quick again

    async def beat(self) -> None:
        return

    async def knock(self) -> bool:
        door = await asyncio.to_thread(self._opened)
        door.carried.add(2 * SYN_BYTES)
        return await opens(*door.address)

    def remarks(self) -> Iterable[tuple[str, dict[str, object]]]:
        """That points were too old for the database: at once, then at most hourly with the sum."""
        now_s = asyncio.get_running_loop().time()
        if not self._unsaid or now_s - self._said_s < SAY_EVERY_S:
            return []
        points, self._unsaid, self._said_s = self._unsaid, 0, now_s
        log.warning(
            "influxdb: %d points are older than the database's retention policy and were not kept", points
        )
        return [("loss", {"records": points, "why": "older than the database's retention policy"})]

    async def close(self) -> None:
        if self._door is not None:
            self._door.close()

    # ── inside ──────────────────────────────────────────────────────────────────────────────────

    async def _write(self, records: Sequence[Record], precision: str) -> None:
        try:
            answer = await self._in_thread(lambda: self._post(records, precision))
        except TimeoutError:
            self.batch_records = max(len(records) // 2, SMALLEST)  # a slow line: smaller batches get through
            raise Unreachable(f"{self._where}: no answer within {REQUEST_S:g} s") from None
        except OSError as e:
            raise Unreachable(f"{self._where}: {_plain(e)}") from e
        self._judge(answer, len(records))

    def _post(self, records: Sequence[Record], precision: str) -> Answer:
        """In the thread: make the lines and write them; create a missing database, once."""
        door = self._opened()
        lines = self._lines.join(records)
        if not lines:
            return Answer(204, "")
        answer = door.write(lines, precision)
        if answer.status == 404 and not self._create_tried:
            self._create_tried = True
            if door.create():
                log.warning("influxdb: %s did not exist and was created", door.where)
                answer = door.write(lines, precision)
        return answer

    def _opened(self) -> Door:
        with self._making:
            if self._door is None:
                self._door = self._make_door()
        return self._door

    def _judge(self, answer: Answer, records: int) -> None:
        """Return when it was written. Raises Unreachable or Refused."""
        text = answer.text.strip()[:300]
        said = f"{self._where}: {answer.status} {text}"
        match verdict(answer):
            case Verdict.WRITTEN:
                self._create_tried = False
            case Verdict.TOO_OLD:
                dropped = text.rpartition("dropped=")[2]
                points = int(dropped) if dropped.isdigit() else records
                self.too_old += points
                self._unsaid += points
            case Verdict.DAMAGED:
                self.batch_records = max(records // 2, SMALLEST)  # what is shorter is hit less often
                raise Unreachable(f"{said}: damaged on the way")
            case Verdict.REFUSED:
                raise Refused(said)
            case Verdict.TOO_LARGE:
                self.batch_bytes = max(self.batch_bytes // 2, 4096)
                self.batch_records = max(min(self.batch_records, records) // 2, 1)
                raise Refused(said)
            case Verdict.NO_RIGHT:
                raise Unreachable(
                    f"{self._where}: refuses us: check user and password, or the token "
                    f"({answer.status} {text})"
                )
            case Verdict.NO_DATABASE:
                remedy = self._door.remedy if self._door is not None else ""
                raise Unreachable(f"{said}; {remedy}", answer.retry_after_s)
            case Verdict.AWAY:
                raise Unreachable(said, answer.retry_after_s)

    @property
    def _where(self) -> str:
        return self._door.where if self._door is not None else "influxdb"

    async def _in_thread(self, job: Callable[[], Answer]) -> Answer:
        """Run the job in a thread of its own, which dies with the process: a hanging request holds up no end.

        Raises TimeoutError after `REQUEST_S`; the thread is then left to itself, and counted.
        """
        if self._hanging >= HANGING_LIMIT:
            raise OSError(f"{self._hanging} requests still hang")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer | None, e: Exception | None) -> None:
            self._hanging -= 1
            if future.done():
                return
            if e is not None:
                future.set_exception(e)
            elif answer is not None:
                future.set_result(answer)

        def run() -> None:
            answer: Answer | None = None
            failed: Exception | None = None
            try:
                answer = job()
            except OSError as e:
                failed = e
            finally:
                failed = failed or (RuntimeError("the request ended in a defect") if answer is None else None)
                try:
                    loop.call_soon_threadsafe(settle, answer, failed)
                except RuntimeError as e:
                    log.debug("the loop has ended: %s", e)

        self._hanging += 1
        threading.Thread(target=run, name="influxdb", daemon=True).start()
        async with asyncio.timeout(REQUEST_S):
            return await future


def _corrects(body: Body) -> bool:
    """Whether this changes a point that was written before."""
    if isinstance(body, Average):
        return body.revision > 0
    return isinstance(body, Event) and body.what == "flagged"


def _plain(e: BaseException) -> str:
    """The cause in one line, without the wrapping of the layers between."""
    while e.__cause__ is not None or (e.__context__ is not None and not e.__suppress_context__):
        e = e.__cause__ or e.__context__ or e
    return (getattr(e, "strerror", None) or str(e) or type(e).__name__).splitlines()[0]
