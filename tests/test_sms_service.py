"""The modem's desk in the station, on the real journal and an emulated modem: reports, answers, spam, a dead
path."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alerts.modem import Inbox
from alerts.modem_inbox import Received
from alerts.rules import Kind, Rule
from alerts.watch import Limits
from tests.alarm_station import CHIEF, DUTY
from tests.sms_desk import Desk, desk, port, texts
from tests.test_sms_answers import Stored
from tests.virtual_time import run


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
