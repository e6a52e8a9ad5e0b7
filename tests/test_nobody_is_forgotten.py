"""An alarm that stands reaches somebody: a bundle of one, contacts who cannot be told, a path that was dead
for longer than a message lives, a full outbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alerts.cms import SmsRefused, SmsRetry
from alerts.memory import Dropped, Now
from alerts.messages import packaged
from alerts.outbox import MOST_ROWS, Outcome
from alerts.policy import Contact
from alerts.rules import Kind, Priority, Rule, Tier
from alerts.watch import Limits, Watch
from tests.alarm_station import CHIEF, DUTY, LoopClock, Path1, Station
from tests.virtual_time import run

HOUR_S = 3600


def turbid(priority: Priority = Priority.CRITICAL, *send: Tier, **more: Any) -> Rule:
    send = send or (Tier(("duty",)), Tier(("chief",), 900.0))
    return Rule("mud", "turb1", Kind.ABOVE, "turbidity", "NTU", high=50, priority=priority, send=send, **more)


class Refuses(Path1):
    """A path that takes nothing for these numbers."""

    def __init__(self, *numbers: str) -> None:
        super().__init__()
        self.numbers = numbers

    async def send(self, to: str, text: str, *, reference: int) -> Any:
        if to in self.numbers:
            raise SmsRefused("the number is not assigned")
        return await super().send(to, text, reference=reference)


def test_a_message_that_waited_for_company_in_vain_goes_alone(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(collect_s=45, answers=False)
        station = Station(tmp_path, LoopClock(), Path1(), [turbid(Priority.HIGH)], limits=limits)
        await station.open()
        station.read(80)
        await station.work(40)
        assert station.path.sent == []
        await station.work(20)
        assert [text[:15] for _, text in station.path.sent] == ["Warning river-1"]
        await station.kill()

    run(main())


@pytest.mark.parametrize("priority", [Priority.CRITICAL, Priority.HIGH])
def test_when_the_first_cannot_be_told_the_next_is_told_at_once(tmp_path: Path, priority: Priority) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Refuses(DUTY.phone), [turbid(priority)])
        await station.open()
        station.read(80)
        await station.work(30)
        assert [to for to, _ in station.path.sent] == [CHIEF.phone]
        notices = await station.events("notify")
        assert notices[-1]["reason"] == "nobody could be told before"
        station.read(20)
        await station.work(30)
        assert [to for to, _ in station.path.sent] == [CHIEF.phone] * 2  # the end, to who knew of it
        await station.kill()

    run(main())


def test_a_telephone_that_never_gets_it_passes_the_alarm_on() -> None:
    watch, now = made([turbid()]), Now(0, 1_763_883_600_000)
    row_id = raised(watch, now)
    for outcome in (Outcome("sending", 1), Outcome("accepted", 1, (7,)), Outcome("undelivered", 1, part=1)):
        watch.outcome(row_id, outcome, now)
    watch.tick(Now(1000, now.utc_ms + 1000))
    assert [row.contact for row in watch.memory.outbox.rows.values()] == ["chief"]


def test_an_alarm_that_outlived_its_message_is_told_anew(tmp_path: Path) -> None:
    """The path is dead for 30 hours; a message lives a day. The alarm still stands when it is back."""

    async def main() -> None:
        path = Path1(*[SmsRetry("no network")] * 185)
        station = Station(tmp_path, LoopClock(), path, [turbid(Priority.CRITICAL, Tier(("duty",)))])
        await station.open()
        station.read(80)
        await station.work(40 * HOUR_S, tick_s=30)
        assert len(path.sent) == 1
        to, text = path.sent[0]
        assert (to, text) == (DUTY.phone, "ALARM river-1 turb1: turbidity 80.0 > 50 NTU since 23.11 07:56")
        assert path.asked_s[-1] > 25 * HOUR_S
        withdrawn = [e for e in await station.events("sms") if e["state"] == "withdrawn"]
        assert [e["error"] for e in withdrawn] == ["too old; told anew"]
        await station.kill()

    run(main())


def test_an_alarm_that_is_over_or_acknowledged_is_not_told_anew() -> None:
    for how in ("over", "acknowledged"):
        watch, now = made([turbid(off_delay_s=0)]), Now(0, 1_763_883_600_000)
        raised(watch, now)
        if how == "over":
            see(watch, 20, 1000)
        else:
            watch.acknowledge("mud", "chief", now)
        late = Now(26 * HOUR_S * 1000, now.utc_ms + 26 * HOUR_S * 1000)
        watch.tick(late)
        assert watch.memory.outbox.rows == {}, how


def test_unknown_errors_do_not_end_a_critical_alarm(tmp_path: Path) -> None:
    async def main() -> None:
        error = SmsRetry("unknown error")
        error.tries = 3
        station = Station(tmp_path, LoopClock(), Path1(*[error] * 8), [turbid()])
        await station.open()
        station.read(80)
        await station.work(2 * HOUR_S, tick_s=10)
        assert (DUTY.phone, "ALARM river-1 turb1: turbidity 80.0 > 50 NTU since 07:56") in station.path.sent
        await station.kill()

    run(main())


def test_what_a_full_outbox_drops_counts_as_not_told() -> None:
    rules = [
        Rule(f"r{i}", "s", Kind.ABOVE, f"q{i}", "NTU", high=50, priority=Priority.LOW,
             send=(Tier(("duty",)), Tier(("chief",), 900.0)))
        for i in range(MOST_ROWS + 5)
    ]  # fmt: skip
    watch, now = made(rules, Limits(collect_s=0, flood_count=10**6, budget=10**6)), Now(0, 1_763_883_600_000)
    said = watch.see_values("s", 0, {f"q{i}": (80.0, True) for i in range(len(rules))}, now)
    dropped = [one.row.rule for one in said if isinstance(one, Dropped)]
    assert len(dropped) == 5
    for rule in dropped:
        assert watch.memory.stories[rule].told == ()
    said = watch.see_values("s", 1000, {f"q{i}": (20.0, True) for i in range(len(rules))}, now)
    ends = {row.rule for row in watch.memory.outbox.rows.values() if row.notice == "clear"}
    assert not ends & set(dropped)


@pytest.mark.parametrize(("priority", "goes"), [(Priority.CRITICAL, True), (Priority.HIGH, False)])
def test_a_critical_alarm_goes_also_when_nothing_of_the_budget_is_left(
    priority: Priority, goes: bool
) -> None:
    watch = Watch("river-1", [turbid(priority, Tier(("duty",)))], [DUTY], {"en": packaged("en")},
                  limits=Limits(collect_s=0, budget=0))  # fmt: skip
    watch.see_values("turb1", 1000, {"turbidity": (80.0, True)}, Now(1000, 1000))
    assert (watch.memory.outbox.next(1000) is not None) is goes


def test_an_end_never_comes_to_who_was_not_told_because_the_budget_was_used_up() -> None:
    watch, now = made([turbid(Priority.HIGH)], Limits(collect_s=0, budget=5)), Now(0, 1_763_883_600_000)
    watch.memory.spent["duty"] = ((0, 4),)
    see(watch, 80, 0)
    watch.tick(Now(1000, now.utc_ms))
    assert [row.contact for row in watch.memory.outbox.rows.values()] == ["chief"]
    see(watch, 20, 2000)
    assert {row.contact for row in watch.memory.outbox.rows.values()} == {"chief"}


def test_a_new_alarm_after_a_restless_time_asks_for_an_answer_again() -> None:
    """Acknowledged, then unstable; what stands when it has settled was never acknowledged."""
    watch = made([turbid(Priority.CRITICAL, Tier(("duty",)), Tier(("chief",), 900.0))])
    at_ms = 0
    for _ in range(3):
        see(watch, 80, at_ms)
        watch.acknowledge("mud", "duty", Now(at_ms + 500, 1_763_883_600_000))
        see(watch, 20, at_ms + 1000)
        at_ms += 60_000
    see(watch, 80, at_ms)
    drain(watch, at_ms)
    told: list[str] = []
    for minute in range(90):
        now = Now(at_ms + minute * 60_000, 1_763_883_600_000)
        watch.tick(now)
        told += [f"{row.contact} {row.notice}" for row in drain(watch, now.ms)]
    assert told == ["duty raise", "chief escalate", "duty remind", "chief remind"]


def made(rules: list[Rule], limits: Limits | None = None) -> Watch:
    texts = {"en": packaged("en"), "ru": packaged("ru")}
    people = [DUTY, CHIEF, Contact("lab", "+996555000003", "en")]
    return Watch("river-1", rules, people, texts, limits=limits or Limits(collect_s=0, answers=False))


def see(watch: Watch, value: float, at_ms: int) -> None:
    watch.see_values("turb1", at_ms, {"turbidity": (value, True)}, Now(at_ms, 1_763_883_600_000 + at_ms))


def raised(watch: Watch, now: Now) -> str:
    see(watch, 80, now.ms)
    [row_id] = watch.memory.outbox.rows
    return row_id


def drain(watch: Watch, ms: int) -> list[Any]:
    gone = []
    while (row := watch.memory.outbox.next(ms)) is not None:
        for state in ("sending", "accepted", "delivered"):
            watch.outcome(row.id, Outcome(state, row.attempts + 1), Now(ms, 1_763_883_600_000))
        gone.append(row)
    return gone


class Away(Path1):
    """A path that takes nothing for a while, and is told for how long each message is good."""

    def __init__(self) -> None:
        super().__init__()
        self.away = True
        self.hours: list[float] = []

    async def send(self, to: str, text: str, *, reference: int, validity_h: float = 0.0) -> Any:
        if self.away:
            raise SmsRetry("no network")
        self.hours.append(validity_h)
        return await super().send(to, text, reference=reference)


def test_nobody_is_said_not_to_reply_to_what_has_not_left_and_no_reminder_follows_at_once(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        path = Away()
        station = Station(tmp_path, LoopClock(), path, [turbid(Priority.CRITICAL)])
        await station.open()
        station.read(80)
        await station.work(22 * 60, tick_s=5)
        path.away = False
        await station.work(9 * 60, tick_s=5)  # past the half hour
        assert sorted((to, text.split()[0]) for to, text in path.sent) == [
            (DUTY.phone, "ALARM"), (CHIEF.phone, "ТРЕВОГА"),
        ]  # fmt: skip
        assert all(23 < hours < 24 for hours in path.hours)
        await station.work(900, tick_s=5)
        assert sorted(text.split()[0] for _, text in path.sent[2:]) == ["Still", "Всё"]
        await station.kill()

    run(main())


@pytest.mark.parametrize(
    ("priority", "waits_s", "least", "most"),
    [(Priority.CRITICAL, 0, 23.9, 24.0), (Priority.HIGH, 0, 5.9, 6.0), (Priority.HIGH, 4 * 3600, 4.0, 4.0),
     (Priority.CRITICAL, 8 * 3600, 15.0, 16.0), (Priority.LOW, 0, 5.9, 6.0)],
)  # fmt: skip
def test_the_network_tries_as_long_as_the_message_is_worth_sending(
    tmp_path: Path, priority: Priority, waits_s: int, least: float, most: float
) -> None:
    async def main() -> None:
        path = Away()
        station = Station(tmp_path, LoopClock(), path, [turbid(priority, Tier(("duty",)))])
        await station.open()
        station.read(80)
        await station.work(waits_s, tick_s=20)
        path.away = False
        await station.work(900, tick_s=20)
        assert least <= path.hours[0] <= most
        await station.kill()

    run(main())
