"""DOCTOR by SMS: who is told what, how often, what it costs, and what a kill does to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from alerts.alphabet import GSM7, segments
from alerts.answers import LIST_SEGMENTS, doctor_wanted, examined
from alerts.commands import Verb, parse
from gateway.doctor_digest import ITEM_LONGEST, DoctorDigest, digest
from gateway.errors import ControlError
from tests import command_desk, doctors
from tests.alarm_station import CHIEF, DUTY
from tests.sms_desk import Desk, desk, port
from tests.virtual_time import run

NO_SIM = {"check": "modem 2", "about": "SIM", "level": "failure", "title": "modem 2 SIM", "what": "no SIM"}
CLOCK = {"check": "clock", "about": "", "level": "warning", "title": "clock", "what": "not set for 2 h"}
FINE = {"check": "disk", "about": "", "level": "ok", "title": "disk", "what": "room for 9 years"}
REPORT = {"station": "river-1", "level": "failure", "findings": [FINE, CLOCK, NO_SIM]}


@pytest.mark.parametrize("text", ["DOCTOR", "doctor?", "Доктор", "ВРАЧ", "дарыгер", "daryger"])
def test_the_word_in_three_languages(text: str) -> None:
    assert parse(text).verb is Verb.DOCTOR


# ── who is told what ────────────────────────────────────────────────────────────────────────────


def found(at: command_desk.Desk, language: str) -> list[str]:
    """What an examination's end says to whom."""
    examined(at.watch, {**digest(REPORT), "language": language}, at.now)
    return at.drain()


def test_who_asked_is_told_once_in_his_language_failures_first() -> None:
    at = command_desk.Desk()
    assert at.says("duty", "doctor") == []
    assert at.says("duty", "doctor") == [], "it is under way"
    assert at.says("chief", "доктор") == [], "he is told too"
    assert doctor_wanted(at.watch) == "en"
    counts = "doctor: failures 1, warnings 1, good 1"
    assert found(at, "en") == [f"duty: kyia-1 07:40: {counts}. modem 2 SIM: no SIM; clock: not set for 2 h"]
    assert found(at, "en") == []
    assert doctor_wanted(at.watch) == "ru"
    assert found(at, "ru")[0].startswith("chief: kyia-1 07:40: доктор: сбоев 1, замечаний 1, хорошо 1. ")
    assert doctor_wanted(at.watch) is None


def test_not_again_within_ten_minutes() -> None:
    at = command_desk.Desk()
    at.says("duty", "doctor")
    found(at, "en")
    assert at.says("duty", "doctor") == ["duty: kyia-1: the doctor has looked already. Ask again after 07:50"]
    assert at.says("lab", "дарыгер")[0].startswith("lab: kyia-1: доктор карап чыккан")
    assert doctor_wanted(at.watch) is None
    at.ms += 600_000
    assert at.says("lab", "дарыгер") == []
    assert doctor_wanted(at.watch) == "ky"


def test_one_that_failed_is_said_too() -> None:
    at = command_desk.Desk()
    at.says("duty", "doctor")
    examined(at.watch, {"state": "failed", "language": "en", "why": "it took too long"}, at.now)
    assert at.drain() == ["duty: kyia-1 07:40: the doctor did not finish. Ask again later"]
    assert doctor_wanted(at.watch) is None


def test_forged_questions_start_no_more_examinations_than_replies_are_allowed() -> None:
    at, begun = command_desk.Desk(replies=5), 0
    for _ in range(50):
        at.hears("duty", "doctor")
        begun += doctor_wanted(at.watch) is not None
        found(at, "en")
        at.ms += 60_000
    assert 1 <= begun <= 5


@pytest.mark.parametrize(("by", "language"), [("duty", "en"), ("chief", "ru"), ("lab", "ky")])
def test_however_much_is_wrong_it_costs_three_segments_at_most(by: str, language: str) -> None:
    words = {"en": "does not answer → 5 °C – no “power”", "ru": "не отвечает", "ky": "жооп бербейт"}[language]
    bad = [{**NO_SIM, "title": f"port {i}", "what": f"{words} " * 20} for i in range(30)]
    at = command_desk.Desk()
    at.hears(by, "doctor")
    report = digest({"findings": [CLOCK, *bad]})
    assert all(len(item) <= ITEM_LONGEST for item in report["items"])
    examined(at.watch, {**report, "language": language}, at.now)
    row = at.watch.memory.outbox.next(at.ms)
    assert row is not None
    assert row.segments == segments(row.text).count == LIST_SEGMENTS
    assert "port 0: " in row.text
    assert "30" in row.text
    assert (segments(row.text).alphabet == GSM7) is (language == "en")


@pytest.mark.parametrize(
    ("what", "item"),
    [
        ("no SIM", "modem 2 SIM: no SIM"),
        (f"no answer, {'and again ' * 9}", "modem 2 SIM: no answer, and again and again and again and.."),
        ("/dev/serial/by-path/platform-fd500000.pcie-pci-0000:01:00.0 is not there",
         "modem 2 SIM: /dev/serial/by-path/platform-fd50.."),
    ],
)  # fmt: skip
def test_a_finding_in_a_few_words(what: str, item: str) -> None:
    assert digest({"findings": [{**NO_SIM, "what": what}]})["items"] == [item]


def test_a_contact_s_number_is_not_in_the_event() -> None:
    wrong = {**NO_SIM, "check": "contact", "title": "contact duty", "what": "+99655500000: has 8 digits"}
    assert digest({"findings": [wrong]})["items"] == ["contact duty"]


# ── the journal in between ──────────────────────────────────────────────────────────────────────


class Doctor:
    """The control verb: does what it is told, call by call; then it reports."""

    def __init__(self, *script: str) -> None:
        self.script, self.languages = list(script), list[str]()

    async def __call__(self, request: Any) -> AsyncGenerator[dict[str, Any], None]:
        self.languages.append(request.text("language"))
        match self.script.pop(0) if self.script else "reports":
            case "busy":
                raise ControlError("the doctor is at work; wait for the end")
            case "hangs":
                await asyncio.sleep(10_000)
        await asyncio.sleep(20)
        yield {"report": REPORT}


async def work(station: Desk, doctor: Doctor, seconds: float) -> None:
    examines = DoctorDigest(station.door, station.fold, station.clock.stamp, doctor)
    task = asyncio.create_task(examines.run())
    await station.work(seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_asked_by_sms_examined_and_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            doctor = Doctor("busy", "reports")
            emulated.receive(CHIEF.phone, "доктор")
            await work(station, doctor, 100)
            assert doctor.languages == ["ru", "ru"], "the page had it at work the first time"
            [sms] = emulated.sent
            assert sms.to == CHIEF.phone
            assert "доктор: сбоев 1" in sms.text
            assert [e["state"] for e in await station.events("doctor")] == ["begun", "done"]

    run(main())


@pytest.mark.parametrize("kills", [1, 2])
def test_killed_while_it_looks(tmp_path: Path, kills: int) -> None:
    """Once: it looks again. Twice: it is said to have failed, so that it cannot end the service for ever."""

    async def main() -> None:
        async with port(tmp_path) as (emulated, path):
            emulated.receive(DUTY.phone, "doctor")
            for _ in range(kills):
                async with desk(tmp_path, path) as station:
                    await work(station, Doctor("hangs"), 60)
            assert emulated.sent == []
            async with desk(tmp_path, path) as station:
                doctor = Doctor()
                await work(station, doctor, 100)
                [sms] = emulated.sent
                assert ("did not finish" in sms.text) is (kills == 2)
                assert len(doctor.languages) == (kills == 1)
            async with desk(tmp_path, path) as station:
                await work(station, Doctor(), 100)
                assert len(emulated.sent) == 1, "one reply"

    run(main())


def test_one_that_hangs_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            emulated.receive(DUTY.phone, "doctor")
            await work(station, Doctor("hangs"), 250)
            [sms] = emulated.sent
            assert "the doctor did not finish" in sms.text

    run(main())


def test_a_whole_station_examines_itself_and_tells_who_asked(tmp_path: Path) -> None:
    """`suuaba run` with a modem, and the real doctor in a process of its own, as on the page."""

    async def main() -> None:
        told, loop = asyncio.Event(), asyncio.get_running_loop()
        async with port(tmp_path, on_sms=lambda _: loop.call_soon_threadsafe(told.set)) as (emulated, path):
            text = f'[sms]\nmodem = "{path}"\n[[contact]]\nid = "duty"\nphone = "{DUTY.phone}"\n'
            file = doctors.station(tmp_path, text + 'language = "en"\n')
            emulated.receive(DUTY.phone, "Doctor")
            words = (sys.executable, "-m", "gateway.cli", "run", str(file))
            service = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
            try:
                async with asyncio.timeout(50):
                    await told.wait()
            finally:
                service.terminate()
                await service.wait()
        [sms] = emulated.sent
        assert sms.to == DUTY.phone
        assert "doctor: failures 1, warnings " in sms.text
        assert "port dust1: /dev/serial/by-path/nothing is not there" in sms.text
        assert segments(sms.text).count <= LIST_SEGMENTS

    asyncio.run(main())
