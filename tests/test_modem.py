"""The SMS modem against an emulated one over a real pseudo-terminal, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from alerts.at import LINE_LIMIT, cut_line
from alerts.cms import CME, CMS, SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown, error_of
from alerts.modem import Health, Late, Modem, PinTries, Waits
from alerts.modem_inbox import GAP, Expected
from alerts.pdu import StatusReport
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from tests.virtual_time import run

TO, OTHER = "+996555000001", "+996777000002"


class Station:
    """A modem and its emulated other side on one pseudo-terminal."""

    def __init__(self, folder: Path, emulated: ModemEmulator, **settings: Any) -> None:
        self.emulated = emulated
        self.port = PtyPort([emulated], link_path=folder / "modem", line=Line(115200))
        self.settings = settings
        self.modem = self.another()

    def another(self, **settings: Any) -> Modem:
        """A second program's modem object on the same port, as after a restart."""
        return Modem(Link(str(self.port.link_path), Line(115200)), **(self.settings | settings))

    @property
    def texts(self) -> list[str]:
        return [sms.text for sms in self.emulated.sent]


@asynccontextmanager
async def station(folder: Path, **settings: Any) -> AsyncIterator[Station]:
    made = Station(folder, settings.pop("emulated", None) or ModemEmulator(), **settings)
    await made.port.start()
    try:
        yield made
    finally:
        made.modem.close()
        await made.port.stop()


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def fails(modem: Modem, text: str = "alarm", **more: Any) -> SmsError:
    """The error of a send that must not succeed."""
    with pytest.raises(SmsError) as caught:
        await modem.send(TO, text, reference=1, **more)
    return caught.value


# ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_of_each_alphabet_arrives_as_it_was_written(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            texts = [
                "pH 4.1 < 6.5 [€]",
                "Суу: pH 4,1; чек 6,5. Жооп: КАБЫЛ 4711",
                "🌊" * 40,
                "x^" * 200,
                "ү" * 71,
            ]
            for reference, text in enumerate(texts):
                sent = await at.modem.send(TO, text, reference=reference)
                assert len(sent.references) == sent.parts
            assert at.texts == texts
            assert [sms.parts for sms in at.emulated.sent] == [1, 1, 2, 4, 2]
            assert {part.validity for part in at.emulated.submitted} == {0xA7}
            assert all(part.report and not part.flash for part in at.emulated.submitted)
            assert at.emulated.refused == []
            assert at.emulated.interrupted == 0

    run(scenario())


def test_it_works_in_real_time_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(30), station(tmp_path) as at:
            await at.modem.send(TO, "real", reference=1)
            at.emulated.receive(OTHER, "answer")
            while not (messages := (await at.modem.inbox()).messages):
                await at.modem.listen(5)
            assert (at.texts, [m.text for m in messages]) == (["real"], ["answer"])

    asyncio.run(scenario())


def test_the_set_up_asks_for_what_is_needed_and_no_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            identity = await at.modem.start()
            assert (identity.maker, identity.imei, identity.smsc) == (
                "SUU-ABA",
                "351111111111110",
                "+996555000000",
            )
            assert list(at.emulated.commands) == [
                "AT+CMEE?", "ATE0", "AT+CMEE=1", "AT+CPIN?", "AT+CMGF=0", "AT+CSMS=0", "AT+CSCA?",
                "AT+CPMS?", "AT+CNMI=2,1,0,2,0", "AT+CGMI", "AT+CGMM", "AT+CGMR", "AT+CGSN", "AT+CIMI",
            ]  # fmt: skip
            at.emulated.commands.clear()
            await at.modem.send(TO, "a", reference=1)
            assert list(at.emulated.commands) == ["AT+CMGS=15"]

    run(scenario())


@pytest.mark.parametrize(
    ("fault", "kind", "code", "tries"),
    [
        ("cms 38", SmsRetry, 38, None), ("cms 41", SmsRetry, 41, None), ("cms 42", SmsRetry, 42, None),
        ("cms 47", SmsRetry, 47, None), ("cms 111", SmsRetry, 111, None), ("cms 331", SmsRetry, 331, None),
        ("cms 332", SmsRetry, 332, None), ("cms 500", SmsRetry, 500, 3), ("cms 512", SmsRetry, 512, None),
        ("cms 703", SmsRetry, 703, None), ("cms 310", SmsFix, 310, None), ("cms 311", SmsFix, 311, None),
        ("cms 313", SmsFix, 313, None), ("cms 322", SmsFix, 322, None), ("cms 330", SmsFix, 330, None),
        ("cms 1", SmsRefused, 1, None), ("cms 8", SmsRefused, 8, None), ("cms 21", SmsRefused, 21, None),
        ("cms 28", SmsRefused, 28, None), ("cms 50", SmsRefused, 50, None), ("cms 69", SmsRefused, 69, None),
        ("cms 96", SmsRefused, 96, None), ("cms 195", SmsRefused, 195, None),
        ("cms 250", SmsRefused, 250, None),
        ("cms 302 first", SmsRefused, 302, None), ("cme 30 first", SmsRetry, 30, None),
        ("error", SmsRetry, None, 3),
        ("error first", SmsRetry, None, 3), ("cms SIM busy first", SmsRetry, None, 3),
    ],
)  # fmt: skip
def test_an_error_code_comes_out_as_its_kind_and_the_next_message_goes(
    tmp_path: Path, fault: str, kind: type[SmsError], code: int | None, tries: int | None
) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.plan(fault)
            error = await fails(at.modem)
            assert type(error) is kind
            assert error.code == code
            assert getattr(error, "tries", None) == tries
            assert error.meaning
            if kind is SmsFix:
                assert error.remedy
            await at.modem.send(TO, "next", reference=2)
            assert at.texts == ["next"]

    run(scenario())


def test_every_code_has_a_meaning_and_what_a_person_must_fix_has_a_remedy() -> None:
    for meaning in [*CMS.values(), *CME.values()]:
        assert meaning.text
        assert meaning.kind is not SmsFix or meaning.remedy
    assert str(error_of("CMS", 330)).startswith(
        "+CMS ERROR: 330, the number of the message centre is not known. Ask"
    )
    assert str(error_of("", None)) == "the modem says ERROR"


def test_no_network_is_a_retry_and_health_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            assert await at.modem.health() == Health(True, "home", -77, "BEELINE KG", 0, 20)
            at.emulated.registered = False
            assert await at.modem.health() == Health(False, "searching", None, "", 0, 20)
            error = await fails(at.modem)
            assert (type(error), error.code) == (SmsRetry, 331)
            at.emulated.registered = True
            await at.modem.send(TO, "again", reference=2)
            assert at.texts == ["again"]

    run(scenario())


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


# ── SIM, message centre ─────────────────────────────────────────────────────────────────────────────────────


def test_the_pin_is_given_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        emulated = ModemEmulator()
        emulated.pin = "4711"
        async with station(tmp_path, emulated=emulated, pin="4711") as at:
            await at.modem.send(TO, "unlocked", reference=1)
            assert at.texts == ["unlocked"]
            assert emulated.commands.count('AT+CPIN="4711"') == 1
            emulated.power_cycle()  # locked again
            await asyncio.sleep(1)
            await at.modem.send(TO, "again", reference=2)
            assert at.texts == ["unlocked", "again"]

    run(scenario())


@pytest.mark.parametrize("knows_cpinr", [True, False])
def test_a_wrong_pin_is_tried_once_and_never_again(tmp_path: Path, knows_cpinr: bool) -> None:
    async def scenario() -> None:
        emulated = ModemEmulator()
        emulated.pin, emulated.knows_cpinr = "4711", knows_cpinr
        kept: list[PinTries] = []
        async with station(tmp_path, emulated=emulated, pin="1234", on_pin=kept.append) as at:
            for _ in range(5):
                error = await fails(at.modem)
                assert isinstance(error, SmsFix)
                assert "PIN" in error.meaning
            assert emulated.tries_left == 2
            assert kept == [PinTries("1234", 1), PinTries("1234", 1, refused=True)]
            at.modem.close()
            again = at.another(pin_tries=kept[-1])  # the program was restarted, and remembers
            assert isinstance(await fails(again), SmsFix)
            again.close()
            if knows_cpinr:
                forgetful = at.another()  # it does not remember, but the SIM does
                error = await fails(forgetful)
                assert isinstance(error, SmsFix)
                assert "2 tries are left" in error.meaning
                forgetful.close()
            assert emulated.tries_left == 2

    run(scenario())


@pytest.mark.parametrize("knows_cpinr", [True, False])
@pytest.mark.parametrize("pin", ["1234", "4711"])
def test_killed_while_the_pin_is_given_it_is_never_given_thrice(
    tmp_path: Path, pin: str, knows_cpinr: bool
) -> None:
    class Killed(BaseException):
        pass

    async def scenario() -> None:
        emulated = ModemEmulator()
        emulated.pin, emulated.knows_cpinr = "4711", knows_cpinr
        kept = [PinTries()]

        def keep(tries: PinTries) -> None:
            """Killed once the SIM has answered, before that is kept; what is kept first is kept."""
            if tries.refused or not tries.tries:
                raise Killed
            kept.append(tries)

        async with station(tmp_path, emulated=emulated, pin=pin, on_pin=keep) as at:
            for _ in range(5):
                with suppress(Killed, SmsError):
                    await at.modem.start()
                at.modem.close()
                emulated.power_cycle()
                await asyncio.sleep(1)
                at.modem = at.another(pin_tries=kept[-1], on_pin=keep)
            given = emulated.commands.count(f'AT+CPIN="{pin}"')
            assert emulated.tries_left >= 1
            if pin == "1234":
                assert given == (1 if knows_cpinr else 2)
            elif knows_cpinr:
                assert given == 5, "three are left each time: it is right"
            at.modem.close()

    run(scenario())


@pytest.mark.parametrize(
    ("pin", "says"), [(None, "wants its PIN"), ("12", "not 4 to 8 digits"), ("12;3", "not 4 to 8")]
)
def test_without_a_usable_pin_none_is_tried(tmp_path: Path, pin: str | None, says: str) -> None:
    async def scenario() -> None:
        emulated = ModemEmulator()
        emulated.pin = "4711"
        async with station(tmp_path, emulated=emulated, pin=pin) as at:
            error = await fails(at.modem)
            assert isinstance(error, SmsFix)
            assert says in error.meaning
            assert emulated.tries_left == 3

    run(scenario())


def test_a_sim_that_wants_its_puk_is_left_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        emulated = ModemEmulator()
        emulated.pin, emulated.tries_left = "4711", 0
        async with station(tmp_path, emulated=emulated, pin="4711") as at:
            error = await fails(at.modem)
            assert isinstance(error, SmsFix)
            assert "PUK" in error.meaning
            assert not any(c.startswith("AT+CPIN=") for c in emulated.commands)

    run(scenario())


def test_a_missing_sim_and_its_return(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.sim = False
            error = await fails(at.modem)
            assert (type(error), error.code) == (SmsFix, 10)
            at.emulated.sim = True
            await at.modem.send(TO, "in again", reference=1)
            at.emulated.sim = False
            error = await fails(at.modem)
            assert (type(error), error.code) == (SmsFix, 310)

    run(scenario())


def test_a_missing_message_centre_is_named_and_can_be_configured(tmp_path: Path) -> None:
    async def scenario() -> None:
        emulated = ModemEmulator()
        emulated.smsc = ""
        async with station(tmp_path, emulated=emulated) as at:
            error = await fails(at.modem)
            assert (type(error), error.code) == (SmsFix, 330)
            at.modem.close()
            at.modem = at.another(smsc="+996700000000")
            await at.modem.send(TO, "centred", reference=1)
            assert emulated.smsc == "+996700000000"
            assert at.texts == ["centred"]

    run(scenario())


# ── the ladder ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hung_modem_is_restarted_once_in_five_minutes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            await at.modem.start()
            at.emulated.deaf_until = "reset"
            at.emulated.plan("ok")
            error = await fails(at.modem)  # found out at the prompt
            assert isinstance(error, SmsRetry)
            await at.modem.send(TO, "restarted", reference=1)
            assert at.texts == ["restarted"]
            assert at.emulated.resets == 1
            at.emulated.deaf_until = "reset"
            for _ in range(3):
                assert isinstance(await fails(at.modem), SmsRetry)
            assert at.emulated.resets == 1
            await asyncio.sleep(300)
            await at.modem.send(TO, "restarted again", reference=1)
            assert at.emulated.resets == 2

    run(scenario())


def test_the_power_switch_is_the_last_rung(tmp_path: Path) -> None:
    async def scenario() -> None:
        emulated = ModemEmulator()
        switched: list[float] = []

        async def power() -> None:
            switched.append(now_s())
            await asyncio.sleep(5)
            emulated.power_cycle()

        async with station(tmp_path, emulated=emulated, power=power) as at:
            emulated.deaf_until = "power"
            await at.modem.send(TO, "powered", reference=1)
            assert at.texts == ["powered"]
            assert len(switched) == 1

        useless = ModemEmulator()
        useless.deaf_until = "power"

        async def no_power() -> None:
            switched.append(now_s())

        async with station(tmp_path, emulated=useless, power=no_power) as at:
            for _ in range(3):
                assert isinstance(await fails(at.modem), SmsRetry)
            assert len(switched) == 2  # not more than once in five minutes

        mute = ModemEmulator()
        mute.deaf_until = "power"
        async with station(tmp_path, emulated=mute) as at:
            start_s = now_s()
            error = await fails(at.modem)
            assert isinstance(error, SmsRetry)
            assert now_s() - start_s < 100

    run(scenario())


def test_a_port_that_is_not_there_is_a_retry_and_costs_no_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        modem = Modem(Link(str(tmp_path / "none"), Line(115200)))
        start_s = now_s()
        error = await fails(modem)
        assert isinstance(error, SmsRetry)
        assert now_s() - start_s < 1

    run(scenario())


# ── noise ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\xff\xfe%$#\r\n",
        b"\x00\x00\r\n",
        b"\r\nRING\r\n",
        b"\r\n+CREG: 1\r\n\r\n^RSSI: 20\r\n",
        b"\r\nOKAY\r\n",
    ],
)
def test_garbage_in_front_of_every_answer_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.garbage = garbage
            await at.modem.send(TO, "ү" * 80, reference=1)
            assert at.texts == ["ү" * 80]
            assert (await at.modem.health()).registered

    run(scenario())


def test_a_modem_that_keeps_its_echo_is_understood(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.refuse_echo_off = True
            assert (await at.modem.start()).maker == "SUU-ABA"
            await at.modem.send(TO, "echoed", reference=1)
            at.emulated.receive(OTHER, "ACK 1")
            await asyncio.sleep(1)
            inbox = await at.modem.inbox()
            assert [m.text for m in inbox.messages] == ["ACK 1"]
            assert (await at.modem.health()).signal_dbm == -77

    run(scenario())


def test_noise_never_breaks_the_modem(tmp_path: Path) -> None:
    """Random bytes before answers: sends succeed or fail with an SmsError, and it recovers."""

    async def scenario() -> None:
        rng = random.Random(27005)
        async with station(tmp_path) as at:
            for i in range(20):
                at.emulated.garbage = b"\r\n" + rng.randbytes(rng.randint(0, 30)).replace(b">", b"") + b"\r\n"
                try:
                    await at.modem.send(TO, f"message {i}", reference=i)
                except SmsError:
                    continue
            at.emulated.garbage = b""
            await asyncio.sleep(301)
            await at.modem.send(TO, "quiet", reference=99)
            assert at.texts[-1] == "quiet"

    run(scenario())


@pytest.mark.parametrize(
    ("got", "frames"),
    [
        (b"\r\nOK\r\n", [b"OK"]),
        (b"\r\n+CMGS: 76\r\n\r\nOK\r\n", [b"+CMGS: 76", b"OK"]),
        (b"AT+CMGS=20\r\r\n> ", [b"AT+CMGS=20", b">"]),
        (b"\r\n> 0011\x1a\r\n+CMS ERROR: 38\r\n", [b">", b"0011\x1a", b"+CMS ERROR: 38"]),
        (b"\x00\x00RDY\n", [b"RDY"]),
        (b"\r\n\r\n  \r\n", []),
    ],
)
def test_lines_are_cut_alike_whole_and_byte_by_byte(got: bytes, frames: list[bytes]) -> None:
    def cut_all(pieces: list[bytes]) -> list[bytes]:
        buffer, out = b"", []
        for piece in pieces:
            buffer += piece
            while (found := cut_line(buffer)) is not None:
                out.append(found[0])
                buffer = buffer[found[1] :]
        return out

    assert cut_all([got]) == frames
    assert cut_all([bytes((b,)) for b in got]) == frames
    assert cut_all([got, b"\r\nmore\r\n"]) == [*frames, b"more"]
    assert cut_line(b"x" * (LINE_LIMIT + 1)) == (b"", LINE_LIMIT + 1)


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


# ── one at a time ───────────────────────────────────────────────────────────────────────────────────────────


def test_thirty_alarms_at_once_go_one_after_the_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path, emulated=ModemEmulator(network_s=3.0)) as at:
            start_s = now_s()
            sends = [at.modem.send(TO, f"alarm {i}", reference=i) for i in range(30)]
            sent = await asyncio.gather(*sends)
            assert [s.references for s in sent] == [(i,) for i in range(1, 31)]
            assert at.texts == [f"alarm {i}" for i in range(30)]
            assert now_s() - start_s < 30 * 3.2
            assert at.emulated.interrupted == 0

    run(scenario())


def test_the_listener_gives_way_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            at.emulated.report_after_s = None
            await at.modem.start()
            listening = asyncio.create_task(at.modem.listen(3600))
            await asyncio.sleep(1)
            start_s = now_s()
            await asyncio.gather(*(at.modem.send(TO, f"{i}", reference=i) for i in range(3)))
            assert now_s() - start_s < 1
            at.emulated.receive(OTHER, "ACK")
            assert await listening
            assert now_s() - start_s < 3

    run(scenario())


def test_two_messages_in_one_second_to_one_phone_are_told_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with station(tmp_path) as at:
            one, two = "а" * 100, "б" * 100
            await asyncio.gather(at.modem.send(TO, one, reference=1), at.modem.send(TO, two, reference=2))
            assert at.texts == [one, two]
            assert [(p.reference, p.number) for p in at.emulated.submitted] == [
                (1, 1),
                (1, 2),
                (2, 1),
                (2, 2),
            ]

    run(scenario())


def test_the_result_is_awaited_longer_than_any_maker_names() -> None:
    assert Waits().result_s >= 130
