"""The modem's desk in the station, on the real journal and an emulated modem: reports, answers, spam, a dead
path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts.cms import SmsRetry
from alerts.modem import Inbox, Modem
from alerts.modem_inbox import Expected, Received
from alerts.policy import Contact
from alerts.rules import Kind, Rule, Tier
from alerts.watch import Limits
from drivers.emulators.modem import ModemEmulator
from drivers.emulators.port import PtyPort
from drivers.link import Line, Link
from gateway import config
from gateway.alarms_sender import SmsSender
from gateway.errors import ConfigError
from gateway.sms import SmsDesk, SmsService, _salt
from gateway.sms_power import power_switch
from tests.test_alarms_fold import CHIEF, DUTY, TURBIDITY, LoopClock, Path1, PowerCut, Station
from tests.virtual_time import run

WITH_CODES = Limits(collect_s=0)
STRANGER = "+996700999999"


class Desk(Station):
    """The journal, the fold, the sender, and the desk beside it, on a modem."""

    def __init__(self, folder: Path, modem: Any, rules: Sequence[Rule] = (TURBIDITY,), **more: Any) -> None:
        super().__init__(folder, LoopClock(), modem, rules, limits=more.pop("limits", WITH_CODES), **more)
        self.sender = SmsSender(self.door, self.fold, modem, self.clock.stamp)
        self.desk = SmsDesk(self.door, self.fold, modem, self.clock.stamp, salt=b"salt", sender=self.sender)

    async def work(self, seconds: float, *, tick_s: float = 1.0) -> None:
        desk = asyncio.create_task(self.desk.run())
        try:
            await super().work(seconds, tick_s=tick_s)
        finally:
            if desk.done():
                desk.result()
            desk.cancel()
            with suppress(asyncio.CancelledError):
                await desk

    def code(self, rule: str = "turbidity-high") -> str:
        """The one-time code of a rule's alarm."""
        grants = self.fold.watch.memory.codes.items()
        return next(code for code, grant in grants if rule in dict(grant.alarms))


@asynccontextmanager
async def port(folder: Path, **emulated: Any) -> AsyncIterator[tuple[ModemEmulator, str]]:
    modem = ModemEmulator(**emulated)
    pty = PtyPort([modem], link_path=folder / "modem", line=Line(115200))
    await pty.start()
    try:
        yield modem, str(pty.link_path)
    finally:
        await pty.stop()


@asynccontextmanager
async def desk(folder: Path, path: str, **more: Any) -> AsyncIterator[Desk]:
    """A life of the station; it ends as a killed process does."""
    modem = Modem(Link(path, Line(115200)))
    made = Desk(folder / "journal", modem, **more)
    await made.open()
    try:
        yield made
    finally:
        modem.close()
        await made.kill()


def texts(emulated: ModemEmulator) -> list[str]:
    return [sms.text.partition(" since ")[0] for sms in emulated.sent]


def test_a_delivery_report_ends_a_message(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(10)
            states = [e["state"] for e in await station.events("sms")]
            assert states == ["sending", "accepted", "delivered"]
            assert station.fold.watch.memory.outbox.rows == {}
            assert emulated.store["SM"] == {}

    run(main())


def test_a_message_that_cannot_be_delivered_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            emulated.report_status = 0x46  # its validity expired
            station.read(80)
            await station.work(10)
            last = (await station.events("sms"))[-1]
            assert (last["state"], last["status"]) == ("undelivered", 0x46)

    run(main())


def test_an_unknown_end_is_resolved_by_the_report(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            emulated.plan("silence sent")
            emulated.report_after_s = 170.0  # after the 150 s for the result are over, before the repetition
            station.read(80)
            await station.work(600)
            states = [e["state"] for e in await station.events("sms")]
            assert states == ["sending", "unknown", "delivered"]
            assert texts(emulated) == ["ALARM river-1 turb1: turbidity 80.0 > 50 NTU"]

    run(main())


def test_without_a_report_it_is_repeated_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            emulated.plan("silence sent")
            emulated.report_after_s = None
            station.read(80)
            await station.work(900)
            assert [text[:8] for text in texts(emulated)] == ["ALARM ri", "(repeat)"]

    run(main())


@pytest.mark.parametrize("fault", ["ok", "silence sent"])
def test_a_report_that_comes_after_a_restart_is_understood(tmp_path: Path, fault: str) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path):
            emulated.plan(fault)
            emulated.report_after_s = 160.0
            async with desk(tmp_path, path) as station:
                station.read(80)
                await station.work(5 if fault == "ok" else 155)
                await station.journal.sync()
            await asyncio.sleep(100)
            async with desk(tmp_path, path) as again:
                await again.work(300)
                assert [e["state"] for e in await again.events("sms")][-1] == "delivered"
                assert len(emulated.sent) == 1

    run(main())


def test_a_message_broken_off_in_its_middle_goes_on_there(tmp_path: Path) -> None:
    async def main() -> None:
        many = [
            Rule(f"turbidity-{i}", "turb1", Kind.ABOVE, f"q{i}", "NTU", high=50 + i, send=())
            for i in range(20)
        ]
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, rules=many) as station:
            for i in range(20):
                station.read(80, name=f"q{i}")
                await asyncio.sleep(1)
            emulated.plan("ok", "cms 38")
            emulated.receive(DUTY.phone, "list")
            await station.work(100)
            [sms] = emulated.sent
            assert sms.parts == 3
            assert [part.number for part in emulated.submitted] == [1, 2, 3]
            states = [e["state"] for e in await station.events("sms")]
            assert states == [
                "sending",
                "retry",
                "delivered",
                "sending",
                "accepted",
                "delivered",
                "delivered",
            ]
            assert station.fold.watch.memory.outbox.rows == {}

    run(main())


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
        from tests.test_alarms_fold import Taken

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


# ── spam ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_spam_neither_stops_an_alarm_nor_costs_anything(tmp_path: Path) -> None:
    """500 messages over the wire, the network keeping what the SIM does not hold."""

    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            for i in range(500):
                emulated.receive(f"+99670000{i:04}", f"You won {i} som!")
            station.read(80)
            began_s = asyncio.get_running_loop().time()
            await station.work(120)
            [sms] = emulated.sent
            assert sms.at_s - began_s < 15
            assert emulated.store["SM"] == {}
            assert not emulated._in_network
            dropped = await station.events("sms_dropped")
            assert 1 <= len(dropped) <= 2
            assert await station.events("answer") == []

    run(main())


def test_ten_thousand_messages_leave_nothing_behind(tmp_path: Path) -> None:
    class Flooded(Stored):
        def __init__(self) -> None:
            super().__init__(Received("Beeline", True, "x", "GSM-7", 1, True, (("SM", 1),)))
            self.came = 1

        async def inbox(self) -> Inbox:
            while len(self.left) < 20 and self.came < 10_000:
                self.came += 1
                sender = DUTY.phone if self.came % 2 else f"+9967{self.came:08}"
                where = (("SM", self.came % 20),)
                text = f"ack {self.came}" if self.came % 3 else "status"
                self.left.append(Received(sender, False, text, "GSM-7", self.came * 1000, True, where))
            await asyncio.sleep(0.05)
            return await super().inbox()

    async def main() -> None:
        flooded = Flooded()
        station = Desk(tmp_path / "journal", flooded)
        await station.open()
        await station.work(300, tick_s=5)
        assert flooded.came == 10_000
        assert flooded.left == []
        memory = station.fold.watch.memory
        assert len(memory.desk.seen) <= 200
        assert len(memory.outbox.rows) <= 200
        assert len(station.fold.save()) < 100_000
        to_duty = [text for to, text in flooded.sent if to == DUTY.phone]
        assert len(flooded.sent) == len(to_duty) <= 25
        dropped = sum(e["unknown_senders"] for e in await station.events("sms_dropped"))
        assert dropped + station.desk._strangers == 5001
        station.read(80)
        await station.work(5)
        assert "ALARM" in flooded.sent[-1][1]
        await station.kill()

    run(main())


# ── how the modem is ────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_sim_is_said_and_so_is_its_return(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            emulated.sim = False
            await station.work(700, tick_s=5)
            assert station.desk.health["state"] == "not ready"
            assert "no SIM" in station.desk.health["why"]
            emulated.sim = True
            await station.work(120)
            modem = await station.events("modem")
            assert [e["state"] for e in modem] == ["not ready", "ready"]
            paths = await station.events("sms_path")
            assert [e["state"] for e in paths] == ["dead", "alive"]
            assert "no SIM" in paths[0]["why"]
            assert station.fold.path() == {"waiting": 0, "state": "alive"}

    run(main())


def test_without_registration_the_path_is_dead_after_ten_minutes(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            await station.work(5)
            emulated.registered = False
            station.read(80)
            await station.work(1300, tick_s=5)
            [dead] = await station.events("sms_path")
            assert dead["state"] == "dead"
            assert "331" in dead["why"] or "searching" in dead["why"]
            emulated.registered = True
            await station.work(900, tick_s=5)
            assert [e["state"] for e in await station.events("sms_path")] == ["dead", "alive"]
            assert len(emulated.sent) == 1

    run(main())


def test_the_daily_sign_of_life(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(collect_s=0, daily_min=8 * 60, daily_to=("chief",))
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, limits=limits) as station:
            await station.work(600, tick_s=5)  # from 07:56 on
            [sms] = emulated.sent
            assert (sms.to, sms.text) == (CHIEF.phone, "river-1 работает, 08:00. Тревог: 0. SMS: 0 из 200")
            await station.work(86_400, tick_s=60)
            assert len(emulated.sent) == 2
            assert await station.events("sms_path") == []
            emulated.report_after_s = None
            await station.work(86_400 + 10_000, tick_s=60)
            assert len(emulated.sent) == 3
            [dead] = await station.events("sms_path")
            assert "sign of life was not delivered" in dead["why"]
            emulated.report_after_s = 5
            await station.work(86_400, tick_s=60)
            assert [e["state"] for e in await station.events("sms_path")] == ["dead", "alive"]

    run(main())


def test_a_full_store_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            emulated.capacity["SM"] = 5
            for i in range(4):
                emulated.receive(f"+9967000000{i:02}", "x" * 200, only=1)  # parts that never become whole
            await station.work(200)
            said = await station.events("sms_storage")
            assert [e["state"] for e in said] == ["nearly full", "room again"]

    run(main())


# ── put together from a station.toml ────────────────────────────────────────────────────────────────────────

TOML = """
[station]
id = "river-1"
data = "data"
[sms]
modem = "{modem}"
power = ["{power}", "x"]
{more}
[[contact]]
id = "duty"
phone = "+996555000001"
[[sensor]]
id = "dust1"
port = "/dev/serial/by-id/dust"
model = "plantower"
"""


def test_the_service_is_put_together_as_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    more = (
        'provider = "kannel"\nprovider_settings = { url = "http://127.0.0.1:1", username = "u", password = '
    )
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text("x")
    (tmp_path / "secrets" / "pw").chmod(0o600)
    text = TOML.format(modem="/dev/m", power="/bin/true", more=more + ' { file = "pw" } }')
    file.write_text(text, encoding="utf-8")
    wanted = config.load(file, environment={})

    async def main() -> None:
        made = Desk(tmp_path / "journal", Stored(Received("x", True, "", "", 1, True, ())))
        service = SmsService(wanted, made.journal, made.fold, made.clock.stamp)
        assert sorted(service.tasks) == ["sms", "sms.inbox"]
        assert service.health() == {"waiting": 0, "state": "alive", "modem": {"state": "unknown"}}
        await made.open()
        await made.kill()

    run(main())


def test_two_modems_the_second_sends_and_hears_when_the_first_cannot(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = ModemEmulator("first"), ModemEmulator("second")
        first.registered = False
        second._mr = 200  # its references are others
        ports = [PtyPort([m], link_path=tmp_path / m.name, line=Line(115200)) for m in (first, second)]
        for pty in ports:
            await pty.start()
        more = f'[sms.second]\nmodem = "{ports[1].link_path}"\n'
        text = TOML.format(modem=ports[0].link_path, power="/bin/true", more=more)
        (tmp_path / "station.toml").write_text(text, encoding="utf-8")
        wanted = config.load(tmp_path / "station.toml", environment={})
        for life in range(2):
            made = Desk(tmp_path / "journal", Stored(Received("x", True, "", "", 1, True, ())))
            service = SmsService(wanted, made.journal, made.fold, made.clock.stamp)
            assert sorted(service.tasks) == ["sms", "sms.inbox", "sms.second"]
            await made.open()
            tasks = [asyncio.create_task(run()) for run in service.tasks.values()]
            if life == 0:
                second.report_after_s = 125.0  # in the second life
                made.read(80)
            await asyncio.sleep(30)
            assert made.fold.watch.memory.path.modem_ms is not None  # of the first: the second hides nothing
            if life == 1:
                heard = [at._modem.expected for at in (service.desk, service.second) if at is not None]
                assert [len(expected._sent) for expected in heard] == [0, 1]
                second.receive(DUTY.phone, made.code())
            for _ in range(60):
                await asyncio.sleep(1)
                made.journal.tick()
            states = [(e["state"], e["path"]) for e in await made.events("sms")]
            assert (first.sent, len(second.sent)) == ([], 1 + life)
            if life == 1:
                assert made.fold.standing()[0]["state"] == "active_acknowledged"
                assert ("delivered", "second") in states
                assert service.health()["modem"]["state"] == "not registered"
                assert service.health()["second"]["state"] == "ready"
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for at in (service.desk, service.second):
                assert at is not None
                at._modem.close()  # type: ignore[attr-defined]  # the real modem has it
            await made.kill()
        for pty in ports:
            await pty.stop()

    run(main())


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ('modem = "/dev/a"', 'modem = "/dev/a"', "belongs to the modem already"),
        ('provider = "kannel"', 'modem = "/dev/a"', "stands without a first one"),
        ('modem = "/dev/a"', "", "second.modem"),
    ],
)
def test_mistakes_about_a_second_modem(tmp_path: Path, first: str, second: str, says: str) -> None:
    text = TOML.replace('modem = "{modem}"\npower = ["{power}", "x"]\n{more}', "{more}")
    file = tmp_path / "station.toml"
    file.write_text(text.format(more=f"{first}\n[sms.second]\n{second}\n"), encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        config.load(file, environment={})


def test_the_salt_is_made_once_and_is_secret(tmp_path: Path) -> None:
    salt = _salt(tmp_path / "data")
    assert len(salt) == 16
    assert _salt(tmp_path / "data") == salt
    assert (tmp_path / "data" / "sms-salt").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("/bin/true",), ""),
        (("/bin/false",), "ended with code 1"),
        (("/no/such/thing",), "cannot be run"),
    ],
)
def test_the_power_switch_is_a_command(
    command: tuple[str, ...], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(power_switch(command)())
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert (len(errors) == 1 and said in errors[0]) if said else errors == []


def test_an_event_is_plain_json(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path) as station:
            station.read(80)
            await station.work(5)
            emulated.receive(DUTY.phone, f"mute {station.code()} 2h")
            await station.work(5)
            for what in ("alarm", "answer", "notify", "sms", "modem"):
                assert json.loads(json.dumps(await station.events(what))) == await station.events(what)

    run(main())
