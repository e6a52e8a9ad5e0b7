"""The SIM and its PIN, the message centre, and how a modem that hangs is restarted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from alerts.cms import SmsError, SmsFix, SmsRetry
from alerts.modem import Modem, PinTries
from drivers.emulators.modem import ModemEmulator
from drivers.link import Line, Link
from tests.modems import TO, fails, now_s, station
from tests.virtual_time import run

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
