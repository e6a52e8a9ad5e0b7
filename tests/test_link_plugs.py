"""The link: plugs that are pulled, ports that are busy, connections that drop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drivers import link as link_module
from drivers.base import PortLost
from drivers.link import Line, Link
from tests.ptys import Pty, TcpPort
from tests.virtual_time import run

LINE = Line(9600, "8N1")


def on_a_pty(
    conversation: Callable[[Link, Pty], Awaitable[None]], line: Line = LINE, echo: bool = False
) -> None:
    async def main() -> None:
        with Pty() as wire:
            link = Link(wire.port, line, echo=echo)
            await link.open()
            try:
                await conversation(link, wire)
            finally:
                link.close()

    run(main())


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("waiting", [True, False], ids=["while waiting", "while idle"])
def test_unplugged_is_lost_at_once_and_found_again_behind_its_symlink(tmp_path: Path, waiting: bool) -> None:
    async def main() -> None:
        name = tmp_path / "rs485"
        link = Link(str(name), LINE)
        with Pty(name) as first:
            await link.send(b"1")
            began_s = now_s()
            if waiting:
                receiving = asyncio.create_task(link.receive(1, 30.0))
                await asyncio.sleep(1.0)
                first.unplug()
                with pytest.raises(PortLost, match="rs485: "):
                    await receiving
                assert now_s() - began_s == pytest.approx(1.0, abs=0.01)
            else:
                first.unplug()
                await asyncio.sleep(1.0)
                with pytest.raises(PortLost, match="rs485: "):
                    await link.send(b"2")
        assert not link.is_open
        with pytest.raises(PortLost, match="cannot open: No such file or directory"):
            await link.send(b"2")
        with Pty() as taken, Pty(name) as second:  # the adapter comes back under another number
            assert str(name.resolve()) != taken.port
            await link.send(b"3")
            assert await second.hear(1) == b"3"
            second.say(b"4")
            assert await link.receive(1, 1.0) == b"4"
            link.close()

    run(main())


def test_what_came_before_the_plug_was_pulled_is_still_given() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        wire.say(b"last words")
        await asyncio.sleep(0.01)
        wire.unplug()
        await asyncio.sleep(0.01)
        assert await link.receive(10, 1.0) == b"last words"
        with pytest.raises(PortLost):
            await link.receive(1, 1.0)

    on_a_pty(conversation)


def test_unplugged_while_a_send_waits_for_silence() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        began_s = now_s()
        sending = asyncio.create_task(link.send(b"1", after_s=10.0))
        await asyncio.sleep(0.1)
        wire.unplug()
        with pytest.raises(PortLost):
            await sending
        assert now_s() - began_s == pytest.approx(0.1, abs=1e-3)

    on_a_pty(conversation)


def test_a_port_that_another_program_holds_is_busy() -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        other = Link(wire.port, LINE)
        with pytest.raises(PortLost, match="in use by another program"):
            await other.open()
        link.close()
        link.close()
        await other.open()
        other.close()

    on_a_pty(conversation)


@pytest.mark.parametrize(
    ("port", "why"),
    [("/dev/does-not-exist", "No such file"), ("/dev/null", "cannot open|cannot set"), ("/", "cannot open")],
)
def test_a_port_that_cannot_be_opened_says_why(port: str, why: str) -> None:
    with pytest.raises(PortLost, match=why):
        asyncio.run(Link(port).open())


@pytest.mark.parametrize("form", ["8E1", "8O1", "7E1"])
def test_a_pseudo_terminal_goes_on_without_parity_and_says_so(form: str) -> None:
    async def conversation(link: Link, wire: Pty) -> None:
        assert link.parity_dropped
        link.close()
        link.parity_dropped = False
        await link.open()  # the second time the C library says so, the first time it does not
        assert link.parity_dropped
        await link.send(b"1")
        assert await wire.hear(1) == b"1"

    on_a_pty(conversation, Line(9600, form))


def test_a_real_port_never_drops_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module.os.path, "realpath", lambda _: "/dev/ttyUSB0")

    async def main() -> None:
        with Pty() as wire, pytest.raises(PortLost, match="cannot set 9600 8E1"):
            await Link(wire.port, Line(9600, "8E1")).open()

    run(main())


# ── TCP ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("waiting", [True, False], ids=["while waiting", "while idle"])
def test_a_dropped_connection_is_lost_and_opened_again(waiting: bool) -> None:
    async def main() -> None:
        with await TcpPort.open() as wire:
            link = Link(wire.port)
            await link.send(b"1")
            await wire.hear(1)
            if waiting:
                receiving = asyncio.create_task(link.receive(1, 30.0))
                await asyncio.sleep(0.1)
                wire.unplug()
                with pytest.raises(PortLost, match="closed the connection"):
                    await receiving
            else:
                wire.unplug()
                await asyncio.sleep(0.1)
                with pytest.raises(PortLost, match="closed the connection"):
                    await link.send(b"2")
            await link.send(b"3")
            assert await wire.hear(1) == b"3"
            assert wire.connections == 2
            link.close()

    run(main())


def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(PortLost, match=r"cannot connect: .+"):
            asyncio.run(Link(f"tcp://127.0.0.1:{port}").open())


def test_a_name_is_tried_at_each_of_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may mean an address first at which nobody listens, as "localhost" often means ::1."""

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "server.example"
        return [(socket.AF_INET, 0, 0, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    async def main() -> None:
        with await TcpPort.open() as wire:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            link = Link(wire.port.replace("127.0.0.1", "server.example"))
            await link.send(b"1")
            assert await wire.hear(1) == b"1"
            link.close()

    run(main())


def test_a_host_that_does_not_answer_costs_the_connect_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.sleep(1e6)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "sock_connect", never)
        began_s = loop.time()
        with pytest.raises(PortLost, match="cannot connect: no answer"):
            await Link("tcp://192.0.2.1:502").open()
        assert loop.time() - began_s == pytest.approx(link_module.CONNECT_WITHIN_S)

    run(main())
