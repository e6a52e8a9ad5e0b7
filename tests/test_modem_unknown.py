"""Messages whose end nobody knows: silence, restarts, unplugged cables, late answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alerts.cms import SmsRetry, SmsUnknown
from alerts.modem import Late
from tests.modems import OTHER, TO, fails, now_s, station
from tests.virtual_time import run

# ── unknown outcomes ────────────────────────────────────────────────────────────────────────────────────────


def test_silence_after_the_pdu_is_unknown_after_150_s_with_nothing_written_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            at.emulated.plan("silence")
            start_s, heard = now_s(), at.port.wire.counts.heard_bytes
            error = await fails(at.modem)
            assert isinstance(error, SmsUnknown)
            assert 150 <= now_s() - start_s < 151
            # The command and the PDU with its Ctrl-Z: not one byte more.
            assert at.port.wire.counts.heard_bytes - heard == len("AT+CMGS=19\r") + 2 * 20 + 1
            await at.modem.send(TO, "next", reference=2)
            assert at.texts == ["next"]

    run(scenario())


def test_an_answer_after_100_s_is_an_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("late 100")
            start_s = now_s()
            sent = await at.modem.send(TO, "slow", reference=1)
            assert 100 <= now_s() - start_s < 102
            assert sent.references == (1,)
            assert at.texts == ["slow"]

    run(scenario())


def test_an_answer_after_the_time_out_is_not_taken_for_the_next_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("late 152")
            assert isinstance(await fails(at.modem, "first"), SmsUnknown)
            sent = await at.modem.send(OTHER, "second", reference=2)
            assert at.texts == ["first", "second"]
            assert sent.references == (2,)
            # …but it tells that the first one went after all.
            assert at.modem.take_late() == [Late(TO, 1, 1, 1)]
            assert at.modem.take_late() == []

    run(scenario())


def test_a_stray_result_after_the_next_message_resolves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("silence")
            assert isinstance(await fails(at.modem, "first"), SmsUnknown)
            at.emulated.report_after_s = None
            await at.modem.send(OTHER, "second", reference=2)
            at.emulated.say("+CMGS: 99")
            assert not await at.modem.listen(10)
            assert at.modem.take_late() == []

    run(scenario())


def test_an_answer_that_comes_very_late_wakes_the_listener(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("late 400")
            assert isinstance(await fails(at.modem, "first"), SmsUnknown)
            assert await at.modem.listen(3600)
            assert at.modem.take_late() == [Late(TO, 1, 1, 1)]

    run(scenario())


def test_a_modem_held_up_for_long_does_not_cost_a_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("late 300")
            assert isinstance(await fails(at.modem, "first"), SmsUnknown)
            for _ in range(10):  # as the outbox does it: again after a pause
                try:
                    await at.modem.send(OTHER, "second", reference=2)
                    break
                except SmsRetry:
                    await asyncio.sleep(30)
            assert at.texts == ["first", "second"]
            assert at.modem.take_late() == [Late(TO, 1, 1, 1)]

    run(scenario())


@pytest.mark.parametrize(("fault", "went"), [("reset", []), ("reset sent", ["alarm"])])
def test_a_restart_in_mid_send_is_unknown_at_once(tmp_path: Path, fault: str, went: list[str]) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            at.emulated.plan(fault)
            start_s = now_s()
            assert isinstance(await fails(at.modem), SmsUnknown)
            assert now_s() - start_s < 1
            await at.modem.send(TO, "next", reference=2)  # echo, error codes and announcements are set again
            assert at.texts == [*went, "next"]
            assert at.modem.restarts == 1
            assert "AT+CNMI=2,1,0,2,0" in list(at.emulated.commands)[-10:]

    run(scenario())


def test_a_restart_while_idle_is_noticed_before_the_next_message(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            at.emulated.power_cycle()
            await asyncio.sleep(1)
            await at.modem.send(TO, "after", reference=1)
            assert at.texts == ["after"]
            assert at.emulated.commands.count("AT+CMGF=0") == 2

    run(scenario())


def test_no_prompt_is_a_retry_after_10_s(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            at.emulated.plan("no prompt")
            start_s = now_s()
            assert isinstance(await fails(at.modem), SmsRetry)
            assert 10 <= now_s() - start_s < 11
            await at.modem.send(TO, "next", reference=2)
            assert at.texts == ["next"]

    run(scenario())


def test_what_went_of_a_long_message_is_known_and_only_the_rest_is_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("ok", "cms 42")
            text = "ү" * 150
            error = await fails(at.modem, text)
            assert (error.part, error.taken) == (2, (1,))
            sent = await at.modem.send(TO, text, reference=1, first=2)
            assert (sent.first, sent.references, sent.parts) == (2, (2, 3), 3)
            assert at.texts == [text]

    run(scenario())


def test_unplugged_in_mid_send_is_unknown_and_it_works_again_when_plugged_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            at.emulated.plan("silence")
            sending = asyncio.create_task(fails(at.modem))
            await asyncio.sleep(20)
            at.port.unplug()
            start_s = now_s()
            assert isinstance(await sending, SmsUnknown)
            assert now_s() - start_s < 1
            error = await fails(at.modem)
            assert isinstance(error, SmsRetry)
            assert "plugged in" in error.remedy
            at.port.replug()
            await at.modem.send(TO, "back", reference=2)
            assert at.texts == ["back"]

    run(scenario())


def test_unplugged_while_idle_nothing_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            listening = asyncio.create_task(at.modem.listen(100))
            await asyncio.sleep(1)
            at.port.unplug()
            await asyncio.sleep(1)
            assert isinstance(await fails(at.modem), SmsRetry)
            at.port.replug()
            await at.modem.send(TO, "back", reference=2)
            assert at.texts == ["back"]
            assert await listening  # the delivery report

    run(scenario())


def test_a_send_that_is_cancelled_leaves_the_modem_usable(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan("late 60")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await at.modem.send(TO, "first", reference=1)
            sent = await at.modem.send(TO, "second", reference=2)  # at once, while the modem is still busy
            assert sent.references == (2,)
            assert at.texts == ["first", "second"]
            assert at.modem.take_late() == [Late(TO, 1, 1, 1)]

    run(scenario())
