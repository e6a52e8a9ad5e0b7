"""The emulated wire in time: how long bytes take, silences, collisions."""

from __future__ import annotations

import asyncio
import time

import pytest

from drivers.emulators.base import Answer
from drivers.emulators.port import PortThread, PtyPort, Record, answered
from drivers.emulators.wire import Wire
from drivers.link import Line, Link
from tests import virtual_time
from tests.talkers import WITHIN_S, Talker, question, until

# ── a timed wire ────────────────────────────────────────────────────────────────────────────────────────────


def test_bytes_take_their_time_on_a_timed_wire() -> None:
    line = Line(1200, "8N1")  # 8.33 ms a character: 2 + 7 characters are 75 ms
    port = PtyPort([Talker("one", "a", after_s=0.05)], line=line, timed=True)

    async def run() -> float:
        link = Link(port.path, line)
        await link.open()
        start_s = time.monotonic()
        await question(link, b"a?")
        took_s = time.monotonic() - start_s
        link.close()
        return took_s

    with PortThread(port):
        took_s = asyncio.run(run())
    assert took_s >= 9 * line.char_s + 0.05
    assert port.wire.counts.broken_silences == 0


def test_a_reader_that_keeps_the_silence_breaks_none() -> None:
    line = Line(1200, "8N1")  # 3.5 characters are 32 ms
    port = PtyPort([Talker("one", "a")], line=line, timed=True)

    async def run() -> None:
        link = Link(port.path, line)
        for _ in range(3):
            await question(link, b"a?")
        link.close()

    with PortThread(port):
        asyncio.run(run())
    assert port.wire.counts.broken_silences == 0
    assert port.wire.counts.shortest_silence_s >= line.silence_s - 50e-6


def on_a_wire(
    emulators: list[Talker],
    says: list[tuple[float, bytes]],
    *,
    baudrate: int = 1000,
    hush_at_s: float | None = None,
    **how: bool,
) -> tuple[Wire, list[tuple[float, bytes]]]:
    """Play what a host says at which second on a timed wire; gives the wire and what reached the host."""
    got: list[tuple[float, bytes]] = []

    async def run() -> Wire:
        loop = asyncio.get_running_loop()
        start_s = loop.time()

        def write(data: bytes) -> int:
            got.append((round(loop.time() - start_s, 4), data))
            return len(data)

        how.setdefault("timed", True)
        wire = Wire(emulators, write, name="w", line=Line(baudrate), record=Record(), **how)
        wire.start()
        if hush_at_s is not None:
            loop.call_later(hush_at_s, wire.hush, "unplugged")
        for at_s, data in says:
            await asyncio.sleep(max(0.0, start_s + at_s - loop.time()))
            wire.from_host(data)
        await asyncio.sleep(5)
        wire.stop()
        return wire

    return virtual_time.run(run()), got


def test_when_each_piece_of_an_answer_arrives() -> None:
    """At 1000 Bd, 8N1, a character takes 10 ms: a request of 2, 50 ms of thought, an answer of 7."""
    wire, got = on_a_wire([Talker("one", "a", after_s=0.05)], [(1.0, b"a?"), (2.0, b"a?a?")])
    assert got == [
        (1.14, b"a=0001."),
        (2.16, b"a=0002."),
        (2.23, b"a=0003."),  # one unit's answers come one behind the other
    ]
    assert wire.counts.broken_silences == 0
    long = Talker("one", "a")
    long._next = lambda asked: Answer(bytes(20), 0.0, {"n": 1.0})  # type: ignore[method-assign]  # one answer for the test
    wire, got = on_a_wire([long], [(1.0, b"a?")])
    assert got == [(1.1, bytes(8)), (1.18, bytes(8)), (1.22, bytes(4))]


def test_broken_silences_are_counted() -> None:
    """At 1000 Bd the silence is 38.5 ms (3.5 characters of 11 bits)."""
    answered_at_s = 1.09  # request 20 ms, answer 70 ms
    for gap_s, broken in ((0.0386, 0), (0.0384, 1), (0.001, 1), (1.0, 0)):
        wire, _ = on_a_wire([Talker("one", "a")], [(1.0, b"a?"), (answered_at_s + gap_s, b"a?")])
        assert wire.counts.broken_silences == broken, gap_s
        assert wire.counts.shortest_silence_s == pytest.approx(gap_s)
    # One frame in two writes, the second while the first is leaving, is no break; a gap in a frame is.
    wire, _ = on_a_wire([Talker("one", "a")], [(1.0, b"xxa"), (1.02, b"?")])
    assert (wire.counts.broken_silences, wire.counts.host_writes) == (0, 2)
    assert wire.emulators[0].heard == b"xxa?"  # type: ignore[attr-defined]  # a Talker here
    wire, _ = on_a_wire([Talker("one", "a")], [(1.0, b"xxa"), (1.04, b"?")])
    assert wire.counts.broken_silences == 1


def test_a_host_that_speaks_into_an_answer_loses_both() -> None:
    talker = Talker("one", "a")
    says = [(1.0, b"a?"), (1.05, b"a?")]  # the answer is on the wire from 1.02 to 1.09
    wire, got = on_a_wire([talker], says, half_duplex=True)
    assert talker.heard[:2] == b"a?"
    assert len(talker.heard) == 4
    assert b"a?" not in talker.heard[2:]
    (at_s, answer), *_ = got
    assert at_s == 1.09
    assert answer != b"a=0001."
    assert [(s.spoiled, s.fault) for s in wire.record.entries] == [(True, "collision")]
    assert wire.counts.collisions == 1
    wire, got = on_a_wire([Talker("one", "a")], says)  # alone on its wire: two pairs, both may speak
    assert [data for _, data in got] == [b"a=0001.", b"a=0002."]
    assert wire.counts.collisions == 0


def test_an_answer_that_is_under_way_when_the_port_is_pulled_out_is_lost_and_recorded_so() -> None:
    wire, got = on_a_wire([Talker("one", "a", after_s=0.5)], [(1.0, b"a?")], hush_at_s=1.3)
    assert got == []
    assert [(said.spoiled, said.fault) for said in wire.record.entries] == [(True, "unplugged")]


def test_without_time_on_the_wire_only_answers_to_the_same_bytes_collide() -> None:
    """On a wire these answers (70 ms each) would overlap; here bytes take no time."""
    units = [Talker("one", "a", after_s=0.03), Talker("two", "b", after_s=0.01)]
    wire, got = on_a_wire(units, [(1.0, b"a?"), (1.01, b"b?")], timed=False)
    assert got == [(1.02, b"b=0001."), (1.03, b"a=0001.")]
    assert wire.counts.collisions == 0


@pytest.mark.parametrize("timed", [False, True])
def test_two_units_that_answer_at_once_garble_each_other(timed: bool) -> None:
    record = Record()
    port = PtyPort([Talker("one", "a"), Talker("two", "a")], line=Line(9600), timed=timed, record=record)

    async def run() -> bytes:
        link = Link(port.path)
        await link.send(b"a?")
        until(lambda: len(record.entries) == 2)
        got = b""
        while len(got) < 14:
            got += await link.receive(1, WITHIN_S)
        link.close()
        return got

    with PortThread(port):
        got = asyncio.run(run())
    assert b"a=" not in got
    assert [(s.spoiled, s.fault) for s in record.entries] == [(True, "collision")] * 2
    assert port.wire.counts.collisions == 1
    assert answered(record) == {}


def test_units_that_answer_one_after_the_other_do_not_collide() -> None:
    for timed in (False, True):
        record = Record()
        units = [Talker("one", "a"), Talker("two", "a", after_s=0.02)]
        port = PtyPort(units, line=Line(9600), timed=timed, record=record)

        async def run(path: str) -> bytes:
            link = Link(path)
            await link.send(b"a?")
            got = await link.receive(14, WITHIN_S)
            link.close()
            return got

        with PortThread(port):
            assert asyncio.run(run(port.path)) == b"a=0001.a=0001."
        assert port.wire.counts.collisions == 0
