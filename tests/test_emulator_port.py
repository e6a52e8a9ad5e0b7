"""Ports of the emulated station: what a reader gets, the record, unplugging, collisions, silences, faults."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.base import GarbledAnswer, NoAnswer, PortLost
from drivers.emulators.base import Answer
from drivers.emulators.faults import (
    Faults,
    parse,
)
from drivers.emulators.port import PortThread, PtyPort, Record, TcpPort, answered, load
from drivers.emulators.wire import Wire
from drivers.link import Line, Link
from tests import virtual_time

WITHIN_S = 20.0


class Talker:
    """The smallest instrument: `a?` is answered with `a=N.` where N counts up; other letters are ignored."""

    def __init__(self, name: str, letter: str, after_s: float = 0.0, every_s: float | None = None) -> None:
        self.name = name
        self.letter = letter.encode()
        self.after_s = after_s
        self.every_s = every_s
        self.n = 0
        self.heard = b""
        self.said_at_s = 0.0

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        self.heard += data
        return [self._next(True) for _ in range(data.count(self.letter + b"?"))]

    def due_s(self, now_s: float) -> float | None:
        return None if self.every_s is None else self.said_at_s + self.every_s

    def speak(self, now_s: float) -> list[Answer]:
        self.said_at_s = now_s
        return [self._next(False)]

    def _next(self, asked: bool) -> Answer:
        self.n += 1
        data = self.letter + b"=%04d." % self.n
        return Answer(data, self.after_s if asked else 0.0, {"n": float(self.n)}, asked)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    deadline_s = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.002)


async def question(link: Link, what: bytes, within_s: float = WITHIN_S) -> bytes:
    await link.send(what)
    return await link.receive_until(b".", within_s)


# ── a pseudo-terminal ───────────────────────────────────────────────────────────────────────────────────────


def test_every_instrument_on_the_wire_hears_every_byte_and_the_record_is_what_the_reader_got(
    tmp_path: Path,
) -> None:
    file = tmp_path / "record.jsonl"
    one, two = Talker("one", "a"), Talker("two", "b")
    record = Record(file)
    port = PtyPort([one, two], name="river", record=record)

    async def read() -> list[bytes]:
        link = Link(port.path)
        try:
            return [await question(link, what) for what in (b"a?", b"b?", b"b?", b"c?a?")]
        finally:
            link.close()

    with PortThread(port):
        got = asyncio.run(read())
        until(lambda: len(record.entries) == 4)
    assert got == [b"a=0001.", b"b=0001.", b"b=0002.", b"a=0002."]
    assert one.heard == two.heard == b"a?b?b?c?a?"
    assert [(s.name, s.port, s.values, s.asked, s.spoiled, s.fault) for s in record.entries] == [
        ("one", "river", {"n": 1.0}, True, False, ""),
        ("two", "river", {"n": 1.0}, True, False, ""),
        ("two", "river", {"n": 2.0}, True, False, ""),
        ("one", "river", {"n": 2.0}, True, False, ""),
    ]
    record.close()
    assert load(file) == record.entries
    with file.open("a") as f:
        f.write('{"name": "torn')
    assert load(file) == record.entries
    assert {key: [value for _, value in values] for key, values in answered(load(file)).items()} == {
        ("one", "n"): [1.0, 2.0],
        ("two", "n"): [1.0, 2.0],
    }
    now_ms = time.time_ns() // 1_000_000
    assert all(now_ms - 60_000 < said.utc_ms <= now_ms for said in record.entries)
    assert set(json.loads(file.read_text().splitlines()[0])) == {
        "name", "port", "at_s", "utc_ms", "values", "asked", "spoiled", "fault",
    }  # fmt: skip


def test_a_stream_that_nobody_hears_is_recorded_as_spoiled() -> None:
    record = Record()
    port = PtyPort([Talker("dust", "d", every_s=0.02)], record=record)

    async def listen() -> bytes:
        link = Link(port.path)
        try:
            return await link.receive_until(b".", WITHIN_S)
        finally:
            link.close()

    with PortThread(port):
        until(lambda: len(record.entries) >= 3)
        assert all(said.spoiled and said.fault == "nobody listened" for said in record.snapshot()[:3])
        first = asyncio.run(listen())
        heard = next(said for said in record.snapshot() if not said.spoiled)
        assert first == b"d=%04d." % heard.values["n"]
        assert not heard.asked
        after = len(record.entries)
        until(lambda: any(said.spoiled for said in record.snapshot()[after:]))  # closed: nobody hears again


def test_unplugged_and_replugged_behind_the_same_link(tmp_path: Path) -> None:
    path = tmp_path / "river"
    port = PtyPort([Talker("one", "a")], link_path=path)
    with PortThread(port):
        assert path.is_symlink()
    assert not path.is_symlink()  # stopped: nothing is left behind
    port = PtyPort([Talker("one", "a")], link_path=path)
    thread = PortThread(port)
    thread.start()
    try:

        async def run() -> tuple[str, str]:
            link = Link(str(path))
            assert await question(link, b"a?") == b"a=0001."
            before = os.readlink(path)
            thread.call(port.unplug)
            assert not path.is_symlink()
            assert await asyncio.to_thread(os.path.exists, before) is False
            with pytest.raises(PortLost):
                await question(link, b"a?")
            with pytest.raises(PortLost):
                await link.open()
            thread.call(port.replug)
            thread.call(port.replug)  # twice does no harm
            assert await question(link, b"a?") == b"a=0002."
            link.close()
            return before, os.readlink(path)

        before, after = asyncio.run(run())
        assert before.startswith("/dev/pts/")
        assert after.startswith("/dev/pts/")
    finally:
        thread.stop()


def test_a_replugged_port_has_another_number_while_the_old_one_is_held() -> None:
    port = PtyPort([Talker("one", "a")])
    thread = PortThread(port)
    thread.start()
    try:
        before = port.path
        held = os.open(before, os.O_RDWR | os.O_NOCTTY)
        thread.call(port.unplug)
        ready, _, _ = select.select([held], [], [], WITHIN_S)
        assert ready
        gone = ""
        try:
            gone = "end of file" if not os.read(held, 1) else ""
        except OSError as e:
            gone = errno.errorcode[e.errno or 0]
        assert gone in ("EIO", "end of file")  # the kernel's two ways of saying it
        thread.call(port.replug)
        assert port.path != before
        os.close(held)
    finally:
        thread.stop()


def test_unplugged_by_schedule() -> None:
    faults = Faults(parse("unplug:river@0.1+0.2"))
    port = PtyPort([Talker("one", "a")], name="river", faults=faults)
    with PortThread(port):
        first = port.path
        assert first
        until(lambda: port.path == "")
        until(lambda: port.path != "")


def test_wrong_line_settings_are_noise_in_both_directions() -> None:
    talker = Talker("one", "a")
    port = PtyPort([talker], line=Line(4800, "8N1"), check_line=True)

    async def run() -> None:
        wrong, right = Link(port.path, Line(9600, "8N1")), Link(port.path, Line(4800, "8N1"))
        with pytest.raises(NoAnswer):
            await question(wrong, b"a?", within_s=0.2)
        wrong.close()
        assert await question(right, b"a?") == b"a=0001."
        right.close()

    with PortThread(port):
        asyncio.run(run())
        assert port.wire.counts.wrong_line_bytes == 2
        assert talker.heard == b"a?"


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
    long._next = lambda asked: Answer(bytes(20), 0.0, {"n": 1.0})  # type: ignore[method-assign]
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
    assert wire.emulators[0].heard == b"xxa?"  # type: ignore[attr-defined]
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


# ── TCP ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tcp_clients_come_one_after_the_other_and_the_newest_has_the_port() -> None:
    port = TcpPort([Talker("one", "a")], framing="rtu")

    async def run() -> None:
        first, second = Link(port.path), Link(port.path)
        assert await question(first, b"a?") == b"a=0001."
        assert await question(second, b"a?") == b"a=0002."  # takes the port over
        with pytest.raises(PortLost):
            await question(first, b"a?")
        assert await question(first, b"a?") == b"a=0003."  # and so back again
        first.close()
        second.close()

    with PortThread(port):
        assert port.path.startswith("rtu+tcp://127.0.0.1:")
        asyncio.run(run())
        assert port.clients == 3


def test_tcp_port_unplugged_refuses_and_comes_back_under_the_same_number() -> None:
    port = TcpPort([Talker("one", "a")])
    thread = PortThread(port)
    thread.start()
    try:
        number = port.port
        client = socket.create_connection(("127.0.0.1", number), timeout=WITHIN_S)
        client.sendall(b"a?")
        assert client.recv(100) == b"a=0001."
        thread.call(port.unplug)
        assert client.recv(100) == b""
        client.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), timeout=WITHIN_S)
        thread.call(port.replug)
        assert port.port == number
        with socket.create_connection(("127.0.0.1", number), timeout=WITHIN_S) as client:
            client.sendall(b"a?")
            assert client.recv(100) == b"a=0002."
    finally:
        thread.stop()


def test_a_port_that_is_taken_is_said_at_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        thread = PortThread(TcpPort([Talker("one", "a")], port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="in use"):
            thread.start()
        thread.stop()


def test_faults_on_a_port(tmp_path: Path) -> None:
    faults = Faults()
    record = Record()
    port = PtyPort([Talker("one", "a")], name="river", faults=faults, record=record)
    thread = PortThread(port)
    thread.start()

    async def run() -> None:
        link = Link(port.path)
        for kind, error in (("silence", NoAnswer), ("truncated", GarbledAnswer), ("late", NoAnswer)):
            thread.call(lambda kind=kind: faults.plant(kind, "river", amount=1.0 if kind == "late" else None))
            with pytest.raises(error):
                await question(link, b"a?", within_s=0.1)
        until(lambda: len(record.entries) == 3)
        assert await question(link, b"a?") == b"a=0004."  # what came late is thrown away before asking
        until(lambda: record.entries[-1].values["n"] == 4)  # an entry follows its bytes by a moment
        for kind in ("dribble", "stray", "noise", "echo"):
            thread.call(lambda kind=kind: faults.plant(kind, "one"))  # type: ignore[misc]
            await link.send(b"a?")
            n = record.entries[-1].values["n"] + 1
            await link.receive_until(b"a=%04d." % n, WITHIN_S)
            until(lambda n=n: record.entries[-1].values["n"] == n)  # type: ignore[misc]
        thread.call(lambda: faults.plant("dead", "one", times=None))
        heard = len(port.wire.emulators[0].heard)  # type: ignore[attr-defined]
        with pytest.raises(NoAnswer):
            await question(link, b"a?", within_s=0.1)
        assert len(port.wire.emulators[0].heard) == heard  # type: ignore[attr-defined]
        link.close()

    try:
        asyncio.run(run())
    finally:
        thread.stop()
    assert [(s.fault, s.spoiled) for s in record.entries] == [
        ("silence", True),
        ("truncated", True),
        ("late", True),
        ("", False),
        ("dribble", False),
        ("stray", False),
        ("noise", False),
        ("", False),  # an echo is the adapter's, not the answer's
    ]


def test_an_echoing_adapter() -> None:
    port = PtyPort([Talker("one", "a")], echo=True)

    async def run() -> bytes:
        link = Link(port.path, echo=True)
        got = await question(link, b"a?")
        link.close()
        return got

    with PortThread(port):
        assert asyncio.run(run()) == b"a=0001."


def test_a_record_forgets_its_oldest_entries_and_counts_them() -> None:
    from drivers.emulators.record import Said

    record = Record(keep=100)
    for i in range(250):
        record.add(Said("one", "river", 0.0, i, {"n": i}, True, False, ""))
    assert len(record.entries) <= 100
    assert record.forgotten + len(record.entries) == 250
    assert record.entries[-1].utc_ms == 249
