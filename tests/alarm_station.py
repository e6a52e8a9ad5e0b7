"""A journal with the alarms, a path for SMS that does what it is told, and kills at any step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerts.cms import SmsError
from alerts.messages import packaged
from alerts.policy import Contact
from alerts.rules import Kind, Priority, Rule, Tier
from alerts.watch import Limits, Watch
from gateway.alarms import AlarmFold
from gateway.alarms_sender import SmsSender
from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Body, Event, Flag, Reading, Record, Stamp, Value
from tests.virtual_time import run

TEXTS = {"ru": packaged("ru"), "en": packaged("en")}
DUTY = Contact("duty", "+996555000001", "en")
CHIEF = Contact("chief", "+996555000002", "ru")
PLAIN = Limits(collect_s=0, answers=False)
TURBIDITY = Rule(
    "turbidity-high", "turb1", Kind.ABOVE, "turbidity", "NTU", high=50,
    priority=Priority.CRITICAL, send=(Tier(("duty",)),),
)  # fmt: skip
ALARM = "ALARM river-1 turb1: turbidity 80.0 > 50 NTU"
NORMAL = "turbidity 20.0 NTU, limit 50, since 07:56, highest 80.0"
RAISED = f"{ALARM} since 07:56"


class LoopClock(Clock):
    """Stamps by the loop's (virtual) time."""

    def __init__(self, boot: str = "boot0001") -> None:
        self.boot = boot
        self.step_ms = 0  # how far UTC has been set since
        self.is_right = True

    def stamp(self) -> Stamp:
        ms = int(asyncio.get_running_loop().time() * 1000)
        return Stamp(1_763_883_600_000 + ms + self.step_ms, self.boot, ms, self.is_right)


class PowerCut(Exception):
    """The process ends here."""


@dataclass
class Taken:
    references: tuple[int, ...]


class Path1:
    """A path that does what it is told, call by call; then it takes everything. Notes what it was given."""

    def __init__(self, *script: SmsError | None) -> None:
        self.script = list(script)
        self.sent: list[tuple[str, str]] = []
        self.asked_s: list[float] = []
        self.references: list[int] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.taken = asyncio.Event()

    async def send(self, to: str, text: str, *, reference: int) -> Taken:
        self.before()
        self.asked_s.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)
        answer = self.script.pop(0) if self.script else None
        if answer is not None:
            raise answer
        self.sent.append((to, text))
        self.references.append(reference)
        self.taken.set()
        self.after()
        return Taken((len(self.sent),))


class Door:
    """The journal's door, with a place to be cut off before and after everything."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.hit: Callable[[str], None] = lambda _: None
        self.trace: list[str] = []

    def append(self, bodies: Sequence[Body]) -> list[Record]:
        self.hit("before append")
        records = self.journal.append(bodies)
        for body in bodies:
            assert isinstance(body, Event)
            self.trace.append(str(body.detail.get("state", body.what)))
        self.hit("after append")
        return records

    async def sync(self) -> None:
        self.hit("before sync")
        await self.journal.sync()
        self.trace.append("sync")
        self.hit("after sync")


class Station:
    """The journal with the fold, a tick each second, and the sender."""

    def __init__(self, folder: Path, clock: LoopClock, path: Any, rules: Sequence[Rule], **more: Any) -> None:
        contacts = more.get("contacts", [DUTY, CHIEF])
        self.clock, self.path = clock, path
        limits = more.get("limits", PLAIN)
        self.fold = AlarmFold(Watch("river-1", rules, contacts, TEXTS, limits=limits))
        self.journal = Journal(folder, clock, folds=[self.fold])
        self.door = Door(self.journal)
        self.sender = SmsSender(self.door, self.fold, path, clock.stamp)

    async def open(self) -> None:
        await self.journal.open()
        self.journal.tick()

    def read(
        self, value: float, flag: Flag = Flag.GOOD, sensor: str = "turb1", name: str = "turbidity"
    ) -> None:
        values = {name: Value(value, value, "NTU", flag)}
        self.journal.append([Reading(sensor, "m", "water", self.clock.stamp(), values)])

    async def work(self, seconds: float, *, tick_s: float = 1.0) -> None:
        """Run the sender and the clock for so long. Raises what the sender raises."""
        sender = asyncio.create_task(self.sender.run())
        for _ in range(int(seconds / tick_s)):
            await asyncio.sleep(tick_s)
            if sender.done():
                break
            self.journal.tick()
        sender.cancel()
        with suppress(asyncio.CancelledError):
            await sender

    async def kill(self) -> None:
        """End as a killed process does."""
        await self.journal._in_thread(self.journal._disk.close)

    async def events(self, what: str) -> list[dict[str, Any]]:
        await self.journal.sync()
        records: list[Record] = []
        while batch := await self.journal.after(records[-1].seq if records else 0, 100_000):
            records += batch
        return [r.body.detail for r in records if isinstance(r.body, Event) and r.body.what == what]


def story(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run(main())
