"""The SMS modem against an emulated one over a real pseudo-terminal, in virtual time."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from alerts.at import LINE_LIMIT, cut_line
from alerts.cms import CME, CMS, SmsError, SmsFix, SmsRefused, SmsRetry, error_of
from alerts.modem import Health, Waits
from drivers.emulators.modem import ModemEmulator
from tests.modems import OTHER, TO, fails, now_s, station
from tests.virtual_time import run

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
