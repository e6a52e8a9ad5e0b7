"""Ports of the emulated station: what a reader gets, the record, unplugging, collisions, silences, faults."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import socket
import time
from pathlib import Path

import pytest

from drivers.base import GarbledAnswer, NoAnswer, PortLost
from drivers.emulators.faults import Faults, parse
from drivers.emulators.port import PortThread, PtyPort, Record, TcpPort, answered, load
from drivers.link import Line, Link
from tests.talkers import WITHIN_S, Talker, question, until

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


def made_at_ns(path: str) -> int | None:
    """When this terminal was made; None where there is none. Others on this machine take free numbers."""
    try:
        return os.stat(path).st_ctime_ns
    except FileNotFoundError:
        return None


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
            made_ns = made_at_ns(before)
            assert made_ns is not None
            thread.call(port.unplug)
            assert not path.is_symlink()
            assert made_at_ns(before) != made_ns, "gone, or somebody else's by now"
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
            thread.call(lambda kind=kind: faults.plant(kind, "one"))  # type: ignore[misc]  # bound now
            await link.send(b"a?")
            n = record.entries[-1].values["n"] + 1
            await link.receive_until(b"a=%04d." % n, WITHIN_S)
            until(lambda n=n: record.entries[-1].values["n"] == n)  # type: ignore[misc]  # bound now
        thread.call(lambda: faults.plant("dead", "one", times=None))
        heard = len(port.wire.emulators[0].heard)  # type: ignore[attr-defined]  # a Talker here
        with pytest.raises(NoAnswer):
            await question(link, b"a?", within_s=0.1)
        assert len(port.wire.emulators[0].heard) == heard  # type: ignore[attr-defined]  # a Talker here
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
