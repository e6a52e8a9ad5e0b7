"""Answers by SMS on a whole station: codes, forged and foreign senders, kills between any two steps."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.cms import SmsRetry
from alerts.modem import Inbox
from alerts.modem_inbox import Expected, Received
from alerts.policy import Contact
from alerts.rules import Tier
from tests.alarm_station import CHIEF, DUTY, TURBIDITY, LoopClock, Path1, PowerCut, Station
from tests.sms_desk import STRANGER, WITH_CODES, Desk, desk, port
from tests.virtual_time import run

# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [DUTY.phone, "0555000001", "996555000001"])
def test_acknowledged_by_sms(tmp_path: Path, number: str) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(5)
            assert emulated.sent[0].text.endswith(f"Reply ACK {station.code()}")
            emulated.receive(number, f"ack {station.code()}")
            await station.work(5)
            assert station.fold.standing()[0]["state"] == "active_acknowledged"
            assert "thank you" in emulated.sent[-1].text
            assert emulated.sent[-1].to == DUTY.phone
            [change] = [e for e in await station.events("alarm") if e["what"] == "acknowledged"]
            assert change["by"] == "duty"
            assert emulated.store["SM"] == {}

    run(main())


def test_events_tell_no_number_no_code_and_no_text(tmp_path: Path) -> None:
    async def main() -> None:
        contacts = [DUTY, Contact("chief", CHIEF.phone, "ru", pin="86420")]
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, contacts=contacts) as station:
            station.read(80)
            await station.work(5)
            code = station.code()
            emulated.receive(CHIEF.phone, "принято 86420 secret words")
            emulated.receive(DUTY.phone, f"mute {code} 2h we clean")
            emulated.receive(DUTY.phone, "list")
            emulated.receive(STRANGER, "hello")
            await station.work(20)
            await station.journal.sync()
            records = await station.journal.after(0, 1000)
            told = "".join(str(record) for record in records)
            for secret in (code, "86420", "996", "secret words", "hello"):
                assert secret not in told, secret
            assert "we clean" in told  # the reason of a mute is for everybody

    run(main())


@pytest.mark.parametrize(
    ("sender", "text"),
    [
        (STRANGER, "ack {code}"),  # not one of ours
        ("Beeline", "ack {code}"),  # a name
        ("+79965550000", "ack {code}"),
        (DUTY.phone, "ack 0000"),
        (DUTY.phone, "ack"),
        (DUTY.phone, "set limit 9999"),
    ],
)
def test_a_forged_or_foreign_message_acknowledges_nothing(tmp_path: Path, sender: str, text: str) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(5)
            emulated.receive(sender, text.format(code=station.code()))
            await station.work(5)
            assert station.fold.standing()[0]["state"] == "active_unacknowledged"
            replies = [sms.to for sms in emulated.sent[1:]]
            assert replies == ([DUTY.phone] if sender == DUTY.phone else [])

    run(main())


def test_a_replayed_code_is_worth_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(5)
            old = station.code()
            emulated.receive(DUTY.phone, f"ack {old}")
            await station.work(5)
            station.read(20)
            await station.work(5)
            station.read(90)
            await station.work(5)
            emulated.receive(DUTY.phone, f"ack {old}")  # overheard, and sent again from a forged number
            await station.work(5)
            assert station.fold.standing()[0]["state"] == "active_unacknowledged"

    run(main())


def test_a_lock_and_what_opens_it_stay_secret(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(5)
            for code in ("1111", "1112", "1113", "1114"):
                emulated.receive(DUTY.phone, code)
                await station.work(5)
            opens = emulated.sent[-1].text.rpartition(" ")[2]
            assert len(opens) == 8
            assert len(emulated.sent) == 4
            records = await station.journal.after(0, 1000)
            assert opens not in "".join(str(record) for record in records)
            emulated.receive(DUTY.phone, opens)
            emulated.receive(DUTY.phone, station.code())
            await station.work(10)
            assert station.fold.standing()[0]["state"] == "active_acknowledged"

    run(main())


class Echoes(Path1):
    """A path that repeats in its complaint what it was given."""

    async def send(self, to: str, text: str, *, reference: int) -> Any:
        self.complaints = [to, text]
        raise SmsRetry(f"cannot send {text!r} to 00{to[1:]} or {to} or {to[-9:]}")


def test_what_a_path_complains_of_tells_no_number_and_no_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        station = Station(tmp_path, LoopClock(), Echoes(), [TURBIDITY], limits=WITH_CODES)
        await station.open()
        station.read(80)
        await station.work(5)
        [code] = station.fold.watch.memory.codes
        records = "".join(str(r) for r in await station.journal.after(0, 1000)) + caplog.text
        assert "cannot send" in records
        for secret in (code, DUTY.phone[-9:]):
            assert secret not in records
        await station.kill()

    run(main())


@pytest.mark.parametrize(("phone", "says"), [("+0", "the contact's number is no telephone number")])
def test_a_number_that_is_none_does_not_stop_the_others(tmp_path: Path, phone: str, says: str) -> None:
    async def main() -> None:
        contacts = [Contact("duty", phone, "en"), CHIEF]
        rule = replace(TURBIDITY, send=(Tier(("duty", "chief")),))
        more = {"rules": [rule], "contacts": contacts}
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, **more) as station:
            station.read(80)
            await station.work(10)
            assert [sms.to for sms in emulated.sent] == [CHIEF.phone]
            failed = [e for e in await station.events("sms") if e["state"] == "failed"]
            assert [e["error"] for e in failed] == [says]

    run(main())


class Stored:
    """A modem whose store holds one message, and that knows nothing else."""

    def __init__(self, message: Received) -> None:
        self.expected = Expected()
        self.left = [message]
        self.sent: list[tuple[str, str]] = []

    async def inbox(self) -> Inbox:
        return Inbox(tuple(self.left), (), (), len(self.left), 20)

    async def forget(self, *items: Any) -> None:
        self.left = [message for message in self.left if message not in items]

    async def health(self) -> Any:
        from alerts.modem import Health

        return Health(True, "home", -77, "X", 0, 20)

    async def listen(self, within_s: float) -> bool:
        await asyncio.sleep(within_s)
        return False

    def take_late(self) -> list[Any]:
        return []

    async def send(self, to: str, text: str, *, reference: int) -> Any:
        await asyncio.sleep(0.1)
        self.sent.append((to, text))
        from tests.alarm_station import Taken

        return Taken((len(self.sent),))


def test_killed_between_any_two_steps_an_answer_is_taken_once(tmp_path: Path) -> None:
    async def one(kill_at: int, folder: Path) -> tuple[int, int, int]:
        """Gives the steps of the last life, how often the wrong code counted, and the replies."""
        stored = Stored(Received(DUTY.phone, False, "ack 1111", "GSM-7", 1000, True, (("SM", 1),)))
        steps = 0
        for life in range(2):
            station = Desk(folder, stored)
            await station.open()
            steps = 0

            def hit(_: str, life: int = life) -> None:
                nonlocal steps
                steps += 1
                if life == 0 and steps == kill_at:
                    raise PowerCut

            station.door.hit = hit
            with suppress(PowerCut):
                await station.work(200)
            await station.kill()
        tries = len(station.fold.watch.memory.desk.tries["duty"])
        texts = [text.removeprefix("(repeat) ") for _, text in stored.sent]
        assert len(set(texts)) == 1
        assert stored.left == []
        return steps, tries, len(texts)

    async def main() -> None:
        for step in range(1, 12):
            _, tries, replies = await one(step, tmp_path / str(step))
            assert tries == 1, step
            assert 1 <= replies <= 2, step

    run(main())
