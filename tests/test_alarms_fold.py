"""The alarm fold and the SMS sender on the real journal: killed anywhere, nothing is lost or sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.messages import packaged
from alerts.modem import Modem
from alerts.outbox import MOST_ROWS, Outbox, Outcome, Row
from alerts.policy import Contact, Notice
from alerts.rules import Kind, Priority, Rule, Tier
from alerts.watch import Limits, Watch
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from gateway.alarms import AlarmFold, Steady
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


def test_from_a_reading_to_an_sms_and_the_end_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(5)
        station.read(20)
        await station.work(5)
        assert station.path.sent == [
            (DUTY.phone, RAISED),
            (DUTY.phone, f"Back to normal river-1 turb1: {NORMAL}"),
        ]
        assert station.path.references == [1, 2]
        alarms = await station.events("alarm")
        assert [(a["what"], a["from"], a["to"]) for a in alarms] == [
            ("raised", "normal", "active_unacknowledged"),
            ("cleared", "active_unacknowledged", "returned_unacknowledged"),
        ]
        assert (alarms[0]["value"], alarms[0]["limit"], alarms[0]["unit"]) == (80.0, 50, "NTU")
        notices = await station.events("notify")
        assert [(n["id"], n["to"], n["segments"]) for n in notices] == [
            ("turbidity-high/1/raise/duty", "duty", 1),
            ("turbidity-high/1/clear/duty", "duty", 1),
        ]
        assert all("+996" not in str(e) for e in notices + await station.events("sms"))
        sms = await station.events("sms")
        assert [e["state"] for e in sms] == ["sending", "accepted"] * 2
        assert sms[1]["reference"] == [1]
        assert station.door.trace == ["sending", "sync", "accepted", "sync"] * 2
        await station.journal.close()

    story(main)


def test_the_modem_is_touched_only_after_sending_is_on_the_disk(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        seen: list[list[str]] = []
        station.path.before = lambda: seen.append(list(station.door.trace))
        await station.open()
        station.read(80)
        await station.work(5)
        assert seen == [["sending", "sync"]]
        await station.kill()

    story(main)


async def killed_at(folder: Path, kill_at: list[int], path_log: list[str], boot_new: bool) -> int:
    """Run until all is settled, killed at these steps of the lives. Gives the steps of the last."""
    steps = 0
    texts: list[str] = path_log
    for life, last_step in enumerate([*kill_at, 10**9]):
        clock = LoopClock(f"boot{life}" if boot_new else "boot")
        path = Path1()
        station = Station(folder, clock, path, [TURBIDITY])
        await station.open()
        if life == 0:
            station.read(20)
            await asyncio.sleep(1)
            station.read(80)
            await station.journal.sync()
        steps = 0

        def hit(_: str, last_step: int = last_step) -> None:
            nonlocal steps
            steps += 1
            if steps == last_step:
                raise PowerCut

        station.door.hit = hit
        path.before = lambda hit=hit: hit("before send")  # type: ignore[misc]  # bound now, called in this life
        path.after = lambda hit=hit: hit("after send")  # type: ignore[misc]  # the same
        with suppress(PowerCut):
            await station.work(200)
        texts += [text.partition(" since ")[0] for _, text in path.sent]
        await station.kill()
    return steps


@pytest.mark.parametrize("boot_new", [False, True], ids=["killed", "power cut"])
def test_killed_between_any_two_steps_of_a_send(tmp_path: Path, boot_new: bool) -> None:
    async def main() -> None:
        whole: list[str] = []
        steps = await killed_at(tmp_path / "whole", [], whole, boot_new)
        assert whole == [ALARM]
        assert steps == 10  # two appends, two syncs and the send, before and after each
        marked = 0
        for step in range(1, steps + 1):
            texts: list[str] = []
            await killed_at(tmp_path / str(step), [step], texts, boot_new)
            assert texts in ([ALARM], [ALARM, f"(repeat) {ALARM}"], [f"(repeat) {ALARM}"]), step
            marked += len(texts) == 2
        assert marked == 4  # only where the modem had taken it and the disk did not know yet

    story(main)


def test_killed_twice_there_is_still_one_repetition_at_most(tmp_path: Path) -> None:
    async def main() -> None:
        sent = 0
        for first in (4, 6, 9):
            for second in range(1, 13):
                texts: list[str] = []
                await killed_at(tmp_path / f"{first}-{second}", [first, second], texts, False)
                assert len(texts) <= 2, (first, second)
                assert texts.count(ALARM) <= 1, (first, second)
                sent += len(texts)
        assert sent >= 36

    story(main)


def test_a_restart_raises_nothing_again(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(5)
        before = station.fold.save()
        await station.journal.sync()
        await station.kill()
        again = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await again.open()
        for _ in range(20):
            again.read(81)
            await again.work(1)
        assert again.path.sent == []
        assert len(await again.events("notify")) == 1
        assert len(before) < 2000
        assert again.fold.standing()[0]["state"] == "active_unacknowledged"
        await again.journal.close()

    story(main)


@pytest.mark.parametrize(
    ("error", "states", "sent", "pauses_s"),
    [
        (SmsRetry("no network"), ["sending", "retry"] * 3 + ["sending", "accepted"], 1, [10, 20, 40]),
        (SmsFix("no SIM", "put one in"), ["sending", "retry"] * 3 + ["sending", "accepted"], 1, [10, 20, 40]),
        (SmsRefused("barred"), ["sending", "failed"], 0, []),
        (SmsUnknown("no answer"), ["sending", "unknown"] * 2, 0, [60]),
    ],
    ids=["retry", "fix", "refused", "unknown"],
)
def test_what_each_kind_of_error_leads_to(
    tmp_path: Path, error: SmsError, states: list[str], sent: int, pauses_s: list[int]
) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(error, error, error), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(300)
        assert [e["state"] for e in await station.events("sms")] == states
        assert len(station.path.sent) == sent
        asked_s = station.path.asked_s
        waits = [later - earlier - 1 for earlier, later in pairwise(asked_s)]
        for wait_s, pause_s in zip(waits, pauses_s, strict=True):
            assert pause_s <= wait_s <= pause_s + 2.5
        assert station.fold.next_in_s() is None
        await station.kill()

    story(main)


def test_an_unknown_end_is_repeated_once_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(SmsUnknown("no answer")), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(300)
        assert [text for _, text in station.path.sent] == [f"(repeat) {RAISED}"]
        await station.kill()

    story(main)


FAULTS = {
    "network away": (["cms 38", "cms 38"], [RAISED]),
    "no prompt": (["no prompt"], [RAISED]),
    "barred": (["cms 8"], []),
    "silence, nothing sent": (["silence"], [f"(repeat) {RAISED}"]),
    "silence, but sent": (["silence sent"], [RAISED, f"(repeat) {RAISED}"]),
    "answer after 100 s": (["late 100"], [RAISED]),
    "answer after 180 s": (["late 180"], [RAISED]),  # known to be sent before it would be repeated
    "reset in the middle": (["reset"], [f"(repeat) {RAISED}"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_with_an_emulated_modem_on_a_pty(tmp_path: Path, case: str) -> None:
    faults, texts = FAULTS[case]

    async def main() -> None:
        emulated = ModemEmulator()
        emulated.plan(*faults)
        port = PtyPort([emulated], link_path=tmp_path / "modem", line=Line(115200))
        await port.start()
        modem = Modem(Link(str(port.link_path), Line(115200)))
        station = Station(tmp_path / "journal", LoopClock(), modem, [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(600)
        assert [sms.text for sms in emulated.sent] == texts
        assert emulated.interrupted == 0
        modem.close()
        await port.stop()
        await station.kill()

    story(main)


def test_a_part_that_went_makes_the_rest_a_repetition(tmp_path: Path) -> None:
    async def main() -> None:
        error = SmsRetry("no network")
        error.taken = (17,)
        station = Station(tmp_path, LoopClock(), Path1(error), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(300)
        assert [text for _, text in station.path.sent] == [f"(repeat) {RAISED}"]
        await station.kill()

    story(main)


def test_a_limited_number_of_tries(tmp_path: Path) -> None:
    async def main() -> None:
        error = SmsRetry("unknown error")
        error.tries = 3
        station = Station(
            tmp_path, LoopClock(), Path1(*[error] * 5), [replace(TURBIDITY, priority=Priority.HIGH)]
        )
        await station.open()
        station.read(80)
        await station.work(300)
        assert [e["state"] for e in await station.events("sms")][-1] == "failed"
        assert len(station.path.asked_s) == 3
        await station.kill()

    story(main)


def test_a_dead_path_is_not_stormed_and_given_up_after_a_day(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(*[SmsRetry("no network")] * 2000), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(25 * 3600, tick_s=30)
        assert 100 < len(station.path.asked_s) < 160  # each ten minutes at last
        withdrawn = [e for e in await station.events("sms") if e["state"] == "withdrawn"]
        assert [(e["id"], e["error"]) for e in withdrawn] == [
            ("turbidity-high/1/raise/duty", "too old; told anew")
        ]
        await station.kill()

    story(main)


def test_the_most_urgent_goes_first_and_an_end_never_before_its_beginning(tmp_path: Path) -> None:
    async def main() -> None:
        low = Rule("low", "a", Kind.ABOVE, "x", high=1, priority=Priority.LOW, send=(Tier(("duty",)),))
        high = Rule("high", "b", Kind.ABOVE, "x", high=1, priority=Priority.HIGH, send=(Tier(("duty",)),))
        station = Station(tmp_path, LoopClock(), Path1(SmsRetry("busy")), [low, high, TURBIDITY])
        await station.open()
        for sensor in ("a", "b"):
            station.read(2, sensor=sensor, name="x")
        await asyncio.sleep(1)
        for sensor in ("a", "b"):
            station.read(0, sensor=sensor, name="x")
        station.read(80)
        await station.work(60)
        sent = [e["id"] for e in await station.events("sms") if e["state"] == "sending"]
        assert (
            sent
            == [
                "turbidity-high/1/raise/duty",  # refused: the path is busy
                "high/1/raise/duty",
                "high/1/clear/duty",
                "turbidity-high/1/raise/duty",
                "low/1/raise/duty",
                "low/1/clear/duty",
            ]
            or sent[0] == "turbidity-high/1/raise/duty"
        )
        for rule in ("high", "low"):
            assert sent.index(f"{rule}/1/raise/duty") < sent.index(f"{rule}/1/clear/duty")
        assert sent.index("high/1/raise/duty") < sent.index("low/1/raise/duty")
        await station.kill()

    story(main)


def test_an_end_waits_for_its_beginning(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(SmsRetry("busy")), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.work(5)
        station.read(20)
        await station.work(60)
        assert [text.partition(" river-1")[0] for _, text in station.path.sent] == ["ALARM", "Back to normal"]
        await station.kill()

    story(main)


def test_an_outcome_counts_once() -> None:
    outbox = Outbox()
    row = Row("r/1/raise/duty", "r", 1, Notice.RAISE, "duty", Priority.HIGH, "t", 1, "", 0, 10**9, 1, 1)
    outbox.put(row)
    for outcome, attempt, now_ms in (
        ("accepted", 1, 0),  # never begun
        ("sending", 1, 0),
        ("sending", 1, 0),
        ("unknown", 2, 0),  # not this attempt
        ("unknown", 1, 1000),
        ("unknown", 1, 5000),  # shown again: must not count as the second unknown end
        ("sending", 1, 6000),
        ("retry", 1, 6000),
    ):
        outbox.apply(row.id, Outcome(outcome, attempt), now_ms)
    assert outbox.next(60_999) is None
    waiting = outbox.next(61_000)
    assert waiting is not None
    assert (waiting.attempts, waiting.repeat) == (1, True)


def test_who_never_got_the_alarm_does_not_get_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(SmsRefused("no such number")), [TURBIDITY])
        await station.open()
        station.read(80)
        await asyncio.sleep(1)
        station.read(20)
        await station.work(60)
        assert station.path.sent == []
        withdrawn = [e for e in await station.events("sms") if e["state"] == "withdrawn"]
        assert [e["id"] for e in withdrawn] == ["turbidity-high/1/clear/duty"]
        await station.kill()

    story(main)


def test_a_contact_that_is_gone_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80)
        await station.journal.sync()
        await station.kill()
        again = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY], contacts=[CHIEF])
        await again.open()
        await again.work(5)
        assert again.path.sent == []
        assert [e["state"] for e in await again.events("sms")] == ["failed"]
        await again.kill()

    story(main)


def test_a_flagged_value_a_dead_sensor_and_strange_events_raise_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Path1(), [TURBIDITY])
        await station.open()
        station.read(80, Flag.FAIL)
        await asyncio.sleep(1)
        station.read(80, Flag.MISSING)
        await asyncio.sleep(1)
        station.read(float("nan"))
        at = station.clock.stamp()
        for detail in (
            {},
            {"sensor": 7, "state": None},
            {"id": ["x"], "state": {}},
            {"id": "x", "attempt": "y"},
        ):
            for what in ("sensor", "sms", "acknowledge", "notify", "x"):
                station.journal.append([Event(at, what, detail)])
        assert await station.events("alarm") == []
        await asyncio.sleep(1)
        station.read(80, Flag.SUSPECT)
        assert len(await station.events("alarm")) == 1
        await station.kill()

    story(main)


def test_fault_and_acknowledgement_come_as_events(tmp_path: Path) -> None:
    async def main() -> None:
        rule = Rule("ill", "turb1", Kind.FAULT, on_delay_s=5, send=(Tier(("duty",)),))
        station = Station(tmp_path, LoopClock(), Path1(), [rule])
        await station.open()
        dead = {"sensor": "turb1", "state": "dead", "why": "no answer"}
        station.journal.append([Event(station.clock.stamp(), "sensor", dead)])
        await station.work(10)
        assert station.path.sent == [(DUTY.phone, "Warning river-1: sensor turb1 is faulty since 07:56")]
        detail = {"rule": "ill", "by": "duty"}
        station.journal.append([Event(station.clock.stamp(), "acknowledge", detail)])
        station.journal.append([Event(station.clock.stamp(), "acknowledge", detail)])
        assert station.fold.standing()[0]["state"] == "active_acknowledged"
        acknowledged = [e for e in await station.events("alarm") if e["what"] == "acknowledged"]
        assert [e["by"] for e in acknowledged] == ["duty"]
        station.journal.append(
            [Event(station.clock.stamp(), "sensor", {"sensor": "turb1", "state": "alive"})]
        )
        assert station.fold.standing()[0]["state"] == "normal"
        await station.kill()

    story(main)


def test_setting_the_clock_moves_no_delay(tmp_path: Path) -> None:
    async def main() -> None:
        rule = Rule(
            "t", "turb1", Kind.ABOVE, "turbidity", high=50, on_delay_s=60, gap_s=30, send=(Tier(("duty",)),)
        )
        station = Station(tmp_path, LoopClock(), Path1(), [rule])
        station.clock.is_right = False
        await station.open()
        for i in range(8):
            station.read(80)
            if i == 2:
                station.clock.step_ms, station.clock.is_right = 400 * 86_400_000, True
            if i == 4:
                station.clock.step_ms = -3_600_000
            assert len(await station.events("alarm")) == (1 if i < 6 else 2)  # pending; raised after 60 s
            await station.work(10)
        await station.kill()

    story(main)


@pytest.mark.parametrize(
    ("synced", "passed_ms"), [((True, True), 3_600_000), ((True, False), 0), ((False, True), 0)]
)
def test_over_a_restart_only_a_right_clock_tells_how_long_it_was(
    synced: tuple[bool, bool], passed_ms: int
) -> None:
    steady = Steady()
    steady.place(Stamp(1_000_000, "a", 50_000, synced[0]), newly_started=True)
    assert steady.place(Stamp(1_010_000, "a", 60_000, synced[0]), newly_started=False) == 10_000
    begun = steady.place(Stamp(1_010_000 + 3_600_000, "b", 5_000, synced[1]), newly_started=True)
    assert begun == 10_000 + passed_ms
    assert steady.place(Stamp(0, "b", 6_000, False), newly_started=False) == begun + 1_000


def test_a_record_of_an_earlier_boot_is_history() -> None:
    steady = Steady()
    steady.place(Stamp(10_000_000, "b", 50_000, True), newly_started=True)
    assert steady.place(Stamp(4_000_000, "a", 99_000, True), newly_started=False) == -6_000_000
    assert steady.place(Stamp(4_000_000, "a", 99_000, False), newly_started=False) < -(10**9)
    assert steady.ms == 0


def test_a_state_that_cannot_be_read_is_no_reason_not_to_start() -> None:
    fold = AlarmFold(Watch("river-1", [TURBIDITY], [DUTY], TEXTS))
    for state in (b"", b"{", b"{}", b'{"steady": 5, "memory": {}}'):
        fold.restore(state)
        assert fold.standing()[0]["state"] == "normal"


def test_the_outbox_has_a_limit_and_keeps_the_urgent() -> None:
    outbox = Outbox()

    def row(number: int, priority: Priority) -> Row:
        name = f"r/{number}/raise/duty"
        return Row(name, "r", number, Notice.RAISE, "duty", priority, "t", 1, "", 0, 10**9, 1, number)

    for number in range(MOST_ROWS):
        assert outbox.put(row(number, Priority.LOW if number == 7 else Priority.HIGH)) == []
    assert outbox.put(row(500, Priority.CRITICAL)) == [row(7, Priority.LOW)]
    assert outbox.put(row(501, Priority.LOW)) == [row(501, Priority.LOW)]
    assert outbox.put(row(500, Priority.CRITICAL)) == []  # the same id again is the same message
    assert len(outbox.rows) == MOST_ROWS
