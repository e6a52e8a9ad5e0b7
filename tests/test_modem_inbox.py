"""What comes in by SMS: messages, long ones in parts, delivery reports, a full store."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from alerts.cms import SmsUnknown
from alerts.modem_inbox import GAP, Expected
from alerts.pdu import StatusReport
from tests.modems import OTHER, TO, fails, station
from tests.virtual_time import run

# ── what comes in ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_wakes_the_listener_and_lies_in_the_store_until_it_is_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            assert not await at.modem.listen(10)
            at.emulated.receive(OTHER, "КАБЫЛ 4711")
            assert await at.modem.listen(10)
            for _ in range(2):  # a kill between reading and dealing with it loses nothing
                (message,) = (await at.modem.inbox()).messages
                assert (message.sender, message.text, message.complete) == (OTHER, "КАБЫЛ 4711", True)
            await at.modem.forget(message)
            await at.modem.forget(message)  # twice does no harm
            assert (await at.modem.inbox()).messages == ()

    run(scenario())


def test_long_messages_are_put_together_also_when_their_parts_mix(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            long, other = "".join(chr(0x430 + i % 32) for i in range(150)), "x" * 200
            for part in (3, 1):
                at.emulated.receive(TO, long, reference=7, only=part)
            at.emulated.receive(OTHER, other, reference=7)
            at.emulated.receive("BEELINE", "Adverts")
            at.emulated.receive(TO, long, reference=7, only=2)
            await asyncio.sleep(1)
            inbox = await at.modem.inbox()
            assert {(m.sender, m.text) for m in inbox.messages} == {
                (TO, long),
                (OTHER, other),
                ("BEELINE", "Adverts"),
            }
            assert [m.is_name for m in inbox.messages if m.text == "Adverts"] == [True]
            await at.modem.forget(*inbox.messages)
            assert (await at.modem.inbox()).used == 0

    run(scenario())


def test_parts_of_two_messages_with_one_reference_are_not_mixed(tmp_path: Path) -> None:
    """A sender has 256 references, and some always use the same."""

    async def scenario() -> None:
        async with station(tmp_path) as at:
            one, two = "a" * 200, "b" * 200
            at.emulated.receive(TO, one, reference=7, only=1)
            at.emulated.receive(TO, two, reference=7, only=1)
            at.emulated.receive(TO, one, reference=7, only=1)  # the network repeats itself
            at.emulated.receive(TO, one, reference=7, only=2)
            await asyncio.sleep(1)
            (message,) = (await at.modem.inbox()).messages
            assert message.text == one
            await at.modem.forget(message)
            at.emulated.receive(TO, two, reference=7, only=2)
            await asyncio.sleep(1)
            (message,) = (await at.modem.inbox()).messages
            assert message.text == two

    run(scenario())


def test_a_message_whose_rest_never_comes_is_given_out_after_a_day_or_when_room_is_short(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.receive(TO, "ү" * 150, reference=7, only=2)
            await asyncio.sleep(1)
            assert (await at.modem.inbox()).messages == ()
            await asyncio.sleep(86_401)
            (message,) = (await at.modem.inbox()).messages
            assert not message.complete
            assert message.text == (GAP + "ү" * 67 + GAP).strip()
            await at.modem.forget(message)
            for i in range(16):
                at.emulated.receive(TO, "x" * 200, reference=i, only=1)
            await asyncio.sleep(1)
            inbox = await at.modem.inbox()
            assert (len(inbox.messages), inbox.used, inbox.size) == (16, 16, 20)

    run(scenario())


def test_a_full_store_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            for i in range(50):
                at.emulated.receive(OTHER, f"spam {i}")
            got: list[str] = []
            for _ in range(10):
                await asyncio.sleep(1)
                inbox = await at.modem.inbox()
                got += [m.text for m in inbox.messages]
                await at.modem.forget(*inbox.messages)
            assert sorted(got) == sorted(f"spam {i}" for i in range(50))
            await at.modem.send(TO, "still sends", reference=1)
            assert at.texts == ["still sends"]

    run(scenario())


def test_hostile_messages_are_deleted_and_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        rng = random.Random(23040)
        async with station(tmp_path) as at:
            hostile = [bytes((0,)) + rng.randbytes(rng.randint(1, 60)) for _ in range(15)]
            for pdu in hostile:
                at.emulated.receive_pdu(pdu)
            at.emulated.receive(OTHER, "real")
            await asyncio.sleep(1)
            inbox = await at.modem.inbox()
            assert "real" in [m.text for m in inbox.messages]
            assert inbox.unreadable
            await at.modem.forget(*inbox.messages, *inbox.reports)
            assert (await at.modem.inbox()).used <= 16 - len(inbox.unreadable)

    run(scenario())


@pytest.mark.parametrize("offers", [(0, 1, 2), (0, 1)])
@pytest.mark.parametrize(("status", "outcome"), [(0x00, "delivered"), (0x46, "failed"), (0x21, "waiting")])
def test_delivery_reports_are_matched_part_by_part(
    tmp_path: Path, offers: tuple[int, ...], status: int, outcome: str
) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.offers_ds, at.emulated.report_status = offers, status
            await at.modem.send(TO, "ү" * 80, reference=5)
            await at.modem.send(OTHER, "short", reference=6)
            await asyncio.sleep(1)
            assert await at.modem.listen(10)
            inbox = await at.modem.inbox()
            assert [(r.recipient, r.reference, r.part, r.outcome, r.sure) for r in inbox.reports] == [
                (TO, 5, 1, outcome, True), (TO, 5, 2, outcome, True), (OTHER, 6, 1, outcome, True),
            ]  # fmt: skip
            await at.modem.forget(*inbox.reports)
            inbox = await at.modem.inbox()
            assert (inbox.reports, inbox.used) == ((), 0)

    run(scenario())


def test_a_delivery_report_resolves_an_unknown_outcome(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("silence sent")
            assert isinstance(await fails(at.modem), SmsUnknown)
            assert await at.modem.listen(10)
            (report,) = (await at.modem.inbox()).reports
            assert (report.reference, report.part, report.outcome, report.sure) == (1, 1, "delivered", False)

    run(scenario())


def test_reports_are_matched_whatever_way_the_network_writes_the_number_and_the_newest_wins() -> None:
    expected = Expected()
    report = StatusReport(7, "0555000001", 0x00, None, None)
    expected.sent(TO, 7, 1, 1)
    expected.sent(TO, 7, 2, 1)  # 256 messages later the modem's reference comes round again
    assert (expected.match(report).reference, expected.match(report).reference) == (2, None)
    expected.unknown(TO, 3, 1)
    expected.unknown(TO, 4, 1)
    assert expected.match(report).reference is None  # two unknown ones: no guessing
    for i in range(2000):
        expected.sent(f"+99655{i:07d}", 1, i % 256, 1)
    assert len(expected._sent) == 512
