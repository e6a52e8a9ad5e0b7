"""Faults of modem, SIM, network and wire under journal, fold, sender and desk, on a PTY and in virtual
time; and a random story of alarms with kills. Each time: what arrived, and that nothing is left.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from alerts.outbox import TELLING, RowState
from alerts.rules import Kind, Phase, Priority, Rule, Tier
from alerts.watch import Limits
from drivers.emulators.modem import ModemEmulator
from drivers.link import Line
from gateway.model import Flag, Reading, Value
from gateway.sms import modem_of
from tests.alarm_station import CHIEF, DUTY, TURBIDITY, LoopClock, Path1, PowerCut, Station, Taken
from tests.sms_desk import Desk, desk, port
from tests.virtual_time import run

ALARM, REPEAT, TO_CHIEF = "ALARM", "(repeat)", "ТРЕВОГА"
PASSED_ON = replace(TURBIDITY, send=(Tier(("duty",)), Tier(("chief",), 900.0)))
Act = Callable[[ModemEmulator], None]


def later(seconds: float, act: Act) -> Callable[[ModemEmulator], Awaitable[None]]:
    async def do(emulated: ModemEmulator) -> None:
        await asyncio.sleep(seconds)
        act(emulated)

    return do


def change(**attributes: Any) -> Act:
    def act(emulated: ModemEmulator) -> None:
        for name, value in attributes.items():
            setattr(emulated, name, value)

    return act


def full(emulated: ModemEmulator) -> None:
    for i in range(60):
        emulated.receive(f"+99670000{i:04}", "advert")


CASES: dict[str, tuple[Act, Callable[[ModemEmulator], Awaitable[None]] | None, list[str]]] = {
    "no network for 20 min": (
        change(registered=False),
        later(1200, change(registered=True)),
        [ALARM, TO_CHIEF],  # and not "no reply": the first message had not even left
    ),
    "SIM missing for 20 min": (change(sim=False), later(1200, change(sim=True)), [ALARM, TO_CHIEF]),
    "SMSC missing for 20 min": (
        change(smsc=""),
        later(1200, change(smsc="+996555000000")),
        [ALARM, TO_CHIEF],
    ),
    "CMS 38": (lambda m: m.plan("cms 38"), None, [ALARM]),
    "CMS 50": (lambda m: m.plan("cms 50"), None, [TO_CHIEF]),
    "CMS 302": (lambda m: m.plan("cms 302 first"), None, [TO_CHIEF]),
    "CMS 331": (lambda m: m.plan("cms 331"), None, [ALARM]),
    "CMS 332": (lambda m: m.plan("cms 332"), None, [ALARM]),
    "CMS 500, five times": (lambda m: m.plan(*["cms 500"] * 5), None, [ALARM]),
    "ERROR without a number": (lambda m: m.plan("error", "error first"), None, [ALARM]),
    "no prompt": (lambda m: m.plan("no prompt"), None, [ALARM]),
    "silence after the PDU, it did not go": (lambda m: m.plan("silence"), None, [REPEAT]),
    "silence after the PDU, it went": (lambda m: m.plan("silence sent"), None, [ALARM]),
    "the answer comes after 100 s": (lambda m: m.plan("late 100"), None, [ALARM]),
    "reset in mid-send, it did not go": (lambda m: m.plan("reset"), None, [REPEAT]),
    "reset in mid-send, it went": (
        lambda m: m.plan("reset sent"),
        None,
        [ALARM, REPEAT],
    ),  # the report is lost
    "the store is full": (full, None, [ALARM]),
    "garbage": (change(garbage=b"\xff\x00\r\n+X: ~~\r\n"), None, [ALARM]),
    "deaf but to a restart": (change(deaf_until="reset"), None, [ALARM]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_loses_nothing_and_doubles_nothing(tmp_path: Path, case: str) -> None:
    before, during, expected = CASES[case]

    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, rules=[PASSED_ON]) as station:
            before(emulated)
            mending = asyncio.create_task(during(emulated)) if during else None
            station.read(80)
            for _ in range(4):  # an hour, in which somebody acknowledges as soon as it can be known
                await station.work(450, tick_s=5)
                if emulated.sent and station.fold.standing()[0]["state"] == "active_unacknowledged":
                    station.fold.watch.acknowledge("turbidity-high", "duty", station.fold._present())
            station.read(20)
            await station.work(1800, tick_s=10)
            heads = [sms.text.split()[0] for sms in emulated.sent]
            ends = {"Back", "Норма"}
            assert [head for head in heads if head not in ends] == expected
            assert len([head for head in heads if head in ends]) == len({sms.to for sms in emulated.sent})
            assert emulated.interrupted == 0
            assert station.fold.watch.memory.outbox.rows == {}
            assert emulated.store["SM"] == {}
            if mending is not None:
                await mending

    run(main())


def test_unplugged_in_mid_send_and_plugged_in_again(tmp_path: Path) -> None:
    async def main() -> None:
        emulated = ModemEmulator(network_s=30.0)
        from drivers.emulators.port import PtyPort

        pty = PtyPort([emulated], link_path=tmp_path / "modem", line=Line(115200))
        await pty.start()
        emulated.report_after_s = None
        async with desk(tmp_path, str(pty.link_path)) as station:
            working = asyncio.create_task(station.work(600))
            await asyncio.sleep(20)
            station.read(80)
            await asyncio.sleep(10)
            pty.unplug()
            await asyncio.sleep(120)
            pty.replug()
            await working
            assert [sms.text.split()[0] for sms in emulated.sent] in ([REPEAT], [ALARM, REPEAT])
        await pty.stop()

    run(main())


def test_a_wrong_pin_is_given_once_whatever_restarts_and_the_alarm_waits(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path):
            emulated.pin, emulated.knows_cpinr = "1234", False
            asked: Any = SimpleNamespace(baudrate=115200, pin=SecretStr("9999"), smsc=None, power=())
            for life in range(4):
                modem = modem_of(asked, path, tmp_path)
                station = Desk(tmp_path / "journal", modem)
                await station.open()
                if life == 0:
                    station.read(80)
                await station.work(900, tick_s=5)
                assert emulated.tries_left == 2
                assert emulated.sent == []
                if life == 3:
                    emulated.pin = ""  # somebody has switched it off with a telephone
                    await station.work(900, tick_s=5)
                modem.close()
                await station.kill()
            assert [sms.text.split()[0] for sms in emulated.sent] == [ALARM]

    run(main())


def many(count: int) -> list[Rule]:
    return [replace(TURBIDITY, id=f"r{i}", quantity=f"q{i}") for i in range(count)]


def test_two_alarms_in_the_same_second(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, rules=many(2)) as station:
            values = {f"q{i}": Value(80, 80, "NTU", Flag.GOOD) for i in range(2)}
            station.journal.append([Reading("turb1", "m", "water", station.clock.stamp(), values)])
            await station.work(30)
            assert sorted(sms.text.split()[3] for sms in emulated.sent) == ["q0", "q1"]
            assert station.fold.watch.memory.outbox.rows == {}

    run(main())


def test_thirty_alarms_in_a_minute_are_all_told_in_few_messages(tmp_path: Path) -> None:
    async def main() -> None:
        async with port(tmp_path) as (emulated, path), desk(tmp_path, path, rules=many(30)) as station:
            working = asyncio.create_task(station.work(300))
            for i in range(30):
                station.read(80, name=f"q{i}")
                await asyncio.sleep(2)
            await working
            assert len(emulated.sent) <= 12
            alone = [sms.text.split()[3] for sms in emulated.sent[:10]]
            assert alone == [f"q{i}" for i in range(10)]
            together = [e for e in await station.events("notify") if e["kind"] == "digest"]
            told = {word for e in together for word in e["reason"].split() if word.startswith("r")}
            assert {word.split("/")[0] for word in told} == {f"r{i}" for i in range(10, 30)}
            assert station.fold.watch.memory.outbox.rows == {}

    run(main())


# ── a random story, with kills ──────────────────────────────────────────────────────────────────────────────


class Net(Path1):
    """A network that takes, refuses for a while, or leaves open what became of it; it lives longer than the
    station.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.log: list[tuple[str, str]] = []

    async def send(self, to: str, text: str, *, reference: int, message_id: str = "") -> Taken:
        from alerts.cms import SmsRetry, SmsUnknown

        self.before()
        await asyncio.sleep(1)
        luck = self.rng.random()
        if luck < 0.1:
            raise SmsRetry("no network")
        if luck > 0.05 + 0.1:
            self.log.append((message_id, text))
        self.after()
        if 0.1 <= luck < 0.2:
            raise SmsUnknown("silence")
        return Taken((len(self.log),))


@pytest.mark.parametrize("seed", range(8))
def test_flapping_storm_restart_late_data_and_silence_with_kills(tmp_path: Path, seed: int) -> None:
    rng, both = random.Random(seed), (Tier(("duty", "chief")),)
    rules = [
        replace(TURBIDITY, id="mud", hysteresis=5.0, on_delay_s=20.0, off_delay_s=30.0, gap_s=30.0),
        replace(TURBIDITY, id="jump", quantity="jump"),
        replace(TURBIDITY, id="slow", quantity="slow", priority=Priority.HIGH, send=both),
        Rule("gone", "turb1", Kind.NO_DATA, no_data_s=120.0, send=(Tier(("chief",)),)),
    ]  # fmt: skip

    async def main() -> None:
        net, truth = Net(rng), {"mud": 20.0, "jump": 20.0, "slow": 20.0}
        lives = 0

        async def live(seconds: float, kill_at: int | None) -> None:
            nonlocal lives
            lives += 1
            station = Station(
                tmp_path, LoopClock(f"boot{lives // 3}"), net, rules,
                limits=Limits(collect_s=20, answers=False, budget=10**6), contacts=[DUTY, CHIEF],
            )  # fmt: skip
            await station.open()
            steps = 0

            def hit(_: str) -> None:
                nonlocal steps
                steps += 1
                if steps == kill_at:
                    raise PowerCut

            station.door.hit, net.before, net.after = hit, lambda: hit("send"), lambda: hit("sent")
            working = asyncio.create_task(station.work(seconds))
            while not working.done():
                await asyncio.sleep(5)
                weather(station)
            with suppress(PowerCut):
                await working
            await station.kill()

        def weather(station: Station) -> None:
            what = rng.random()
            if what < 0.05:
                return  # silence
            if what < 0.1:
                values = {name: Value(999, 999, "NTU", Flag.FAIL) for name in ("turbidity", "jump", "slow")}
            else:
                if rng.random() < 0.1:
                    truth["mud"] = rng.choice([20.0, 80.0])
                if rng.random() < 0.3:
                    truth["jump"] = rng.choice([20.0, 80.0])
                if rng.random() < 0.05:
                    truth["slow"] = rng.choice([20.0, 80.0])
                named = {"turbidity": truth["mud"], "jump": truth["jump"], "slow": truth["slow"]}
                values = {name: Value(v, v, "NTU", Flag.GOOD) for name, v in named.items()}
            at = station.clock.stamp()
            if what > 0.9:  # late: history, not news
                at = replace_stamp(at, 1_200_000)
                values = {name: Value(500, 500, "NTU", Flag.GOOD) for name in values}
            station.journal.append([Reading("turb1", "m", "water", at, values)])

        for _ in range(12):
            await live(rng.uniform(100, 400), rng.randint(1, 60))
            await asyncio.sleep(rng.choice([0, 5, 300]))
        final = Station(
            tmp_path, LoopClock("last"), net, rules,
            limits=Limits(collect_s=20, answers=False, budget=10**6), contacts=[DUTY, CHIEF],
        )  # fmt: skip
        net.before = net.after = lambda: None
        net.rng = random.Random(1)
        await final.open()
        for _ in range(400):  # calm: everything settles, and what is on its way arrives
            values = {name: Value(20, 20, "NTU", Flag.GOOD) for name in ("turbidity", "jump", "slow")}
            final.journal.append([Reading("turb1", "m", "water", final.clock.stamp(), values)])
            await final.work(10)

        memory = final.fold.watch.memory
        assert all(state.phase is Phase.NORMAL for state in memory.states.values()), memory.states
        assert [r.id for r in memory.outbox.rows.values() if r.state is not RowState.ACCEPTED] == []
        said = await final.events("notify")
        assert max(Counter(e["id"] for e in said).values()) == 1  # each message is made once
        plain = Counter(i for i, text in net.log if not text.startswith(("(", "(2)")))
        marked = Counter(i for i, text in net.log if text.startswith("("))
        assert max(plain.values(), default=1) == 1
        assert max(marked.values(), default=1) == 1
        check_told(said, await final.events("alarm"), await final.events("sms"), net)
        await final.kill()

    run(main())


def replace_stamp(at: Any, ms: int) -> Any:
    from gateway.model import Stamp

    return Stamp(at.utc_ms - ms, at.boot, at.mono_ms - ms, at.synced)


def check_told(
    said: list[dict[str, Any]], alarms: list[dict[str, Any]], sms: list[dict[str, Any]], net: Net
) -> None:
    """Every raise led to a message or belongs to a time called unstable; no end without a beginning; no late
    value was taken for news.
    """
    raised = [e for e in alarms if e["what"] == "raised"]
    assert raised
    assert all(e["value"] is None or e["value"] < 400 for e in alarms)
    about = {(e["rule"], e["occurrence"]) for e in said if e["kind"] in ("raise", "flapping")}
    flapping = {e["rule"] for e in said if e["kind"] == "flapping"}
    for one in raised:
        assert (one["rule"], one["occurrence"]) in about or one["rule"] in flapping, one
    ended = Counter(e["state"] for e in sms)
    groups = {word.rstrip(",") for e in said if e["kind"] == "digest" for word in e["reason"].split()}
    done = {e["id"] for e in sms if e["state"] in ("accepted", "withdrawn", "failed", "unknown", "delivered")}
    lost = [e["id"] for e in said if e["id"] not in done and e["id"] not in groups]
    assert lost == [], ended
    order = [i for i, _ in net.log]
    within = {e["id"]: e["reason"] for e in said if e["kind"] == "digest"}
    open_end = {e["id"] for e in sms if e["state"] == "unknown"}
    for at, e in enumerate(said):
        if e["kind"] != "clear" or e["id"] not in order:
            continue
        heard = [word for i in order[: order.index(e["id"])] for word in (i, *within.get(i, "").split())]
        heard = [word.rstrip(",") for word in heard]
        same = [b for b in said[:at] if (b["rule"], b["to"]) == (e["rule"], e["to"])]
        telling = [b["id"] for b in same if b["kind"] in TELLING]
        assert telling[-1] in heard or telling[-1] in open_end or any(d in open_end for d in within), e["id"]
