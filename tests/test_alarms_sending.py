"""From the outbox to the path: what is durable when, kills between any two steps, errors, order."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.modem import Modem
from alerts.rules import Kind, Priority, Rule, Tier
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from tests.alarm_station import ALARM, RAISED, TURBIDITY, LoopClock, Path1, PowerCut, Station, story


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
