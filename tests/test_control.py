"""The control socket: real sockets, real peers, hostile clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import control, control_peer
from gateway.control import Answer, ControlDoor, Request, ask, stream
from gateway.errors import ControlError, JournalError, NotRunning
from gateway.supervise import supervise
from tests import services
from tests.site import site

SOON_S = 20.0


async def echo(request: Request) -> Answer:
    return {"verb": request.verb, "body": dict(request.body), "by": request.by}


async def count(request: Request) -> AsyncIterator[Answer]:
    for number in range(int(request.number("to"))):
        yield {"number": number}
    if request.body.get("then"):
        raise ControlError(request.text("then"))


def play(
    data: Path,
    story: Callable[[ControlDoor], Awaitable[None]],
    verbs: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    """Run `story` while the door of `data` is open."""

    async def main() -> None:
        door = ControlDoor(data, verbs or {"echo": echo, "count": count}, **more)
        serving = asyncio.create_task(supervise("control", door.run))
        try:
            async with asyncio.timeout(60):
                await until(lambda: (data / control.NAME).exists())
                await story(door)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    asyncio.run(main())


async def until(true: Callable[[], Any]) -> None:
    """Wait until it is so; the caller's deadline ends it otherwise."""
    async with asyncio.timeout(SOON_S):
        while not true():  # noqa: ASYNC110 - what is looked at is another part's state, it sets no event
            await asyncio.sleep(0.005)


async def raw(data: Path, said: bytes, *, half_close: bool = False) -> bytes:
    """What comes back for these bytes, until the other side closes."""
    reader, writer = await asyncio.open_unix_connection(data / control.NAME)
    with contextlib.suppress(ConnectionError):
        writer.write(said)
        await writer.drain()
        if half_close:
            writer.write_eof()
    got = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(SOON_S):
            while more := await reader.read(65536):
                got += more
    writer.close()
    return got


def test_ask_and_answer(tmp_path: Path) -> None:
    async def story(door: ControlDoor) -> None:
        answer = await ask(tmp_path, "echo", rule="мутность", minutes=120, list=[1, None])
        assert answer["verb"] == "echo"
        assert answer["body"] == {"rule": "мутность", "minutes": 120, "list": [1, None]}
        assert answer["by"] not in ("", None)
        assert [said["number"] async for said in stream(tmp_path, "count", to=3)] == [0, 1, 2]
        with pytest.raises(ControlError, match="no more of it"):
            async for _ in stream(tmp_path, "count", to=1, then="no more\nof it"):
                pass

    play(tmp_path, story)


def test_the_asker_is_named_by_the_system() -> None:
    """Also for root: who logged in, if the kernel knows; never what the client says of itself."""
    uid, pid = os.getuid(), os.getpid()
    try:
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except FileNotFoundError:
        login = 2**32 - 1
    expected = uid if uid != 0 or login == 2**32 - 1 else login
    assert control_peer.who(uid, pid) == control_peer.user(expected)
    assert control_peer.user(3_999_999) == "user 3999999"


def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    async def story(door: ControlDoor) -> None:
        found = os.stat(tmp_path / control.NAME)
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600

    umask = os.umask(0)
    try:
        play(tmp_path, story)
    finally:
        os.umask(umask)
    assert not (tmp_path / control.NAME).exists(), "a service that has ended leaves nothing to knock at"


def test_another_user_is_turned_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(door: ControlDoor) -> None:
        with pytest.raises(ControlError, match="only root and the service's own user"):
            await ask(tmp_path, "echo")

    play(tmp_path, story, may=[os.getuid() + 1])
    assert "turned away" in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="becoming somebody else needs root")
def test_nobody_meets_a_closed_door_and_behind_it_the_kernel_knows_him(tmp_path: Path) -> None:
    client = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.settimeout(20)\n"
        "try:\n"
        "    s.connect(sys.argv[1])\n"
        "except PermissionError:\n"
        "    sys.exit(13)\n"
        's.sendall(b\'{"verb":"echo"}\\n\')\n'
        "print(s.recv(1000).decode())\n"
    )
    folder = tmp_path / "data"
    folder.mkdir()
    for above in (folder, tmp_path, tmp_path.parent, tmp_path.parent.parent):  # pytest makes them private
        above.chmod(0o755)

    async def become_nobody() -> tuple[int, str]:
        command = [sys.executable, "-c", client, str(folder / control.NAME)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    async def story(door: ControlDoor) -> None:
        assert (await become_nobody())[0] == 13, "the socket's mode keeps him out"
        (folder / control.NAME).chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        code, said = await become_nobody()
        assert (code, json.loads(said)) == (
            0,
            {"error": "only root and the service's own user are heard here"},
        )

    play(folder, story)


def test_no_service(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "not" / "there"):
        with pytest.raises(NotRunning, match=r"no service runs on .*systemctl start suuaba"):
            asyncio.run(ask(data, "echo"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / control.NAME))  # left over by a killed service: nobody listens
    with pytest.raises(NotRunning):
        asyncio.run(ask(tmp_path, "echo"))


def test_what_a_killed_service_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / control.NAME))

    async def story(door: ControlDoor) -> None:
        assert (await _patiently(tmp_path))["verb"] == "echo"

    play(tmp_path, story)


async def _patiently(data: Path) -> dict[str, Any]:
    for _ in range(10_000):
        with contextlib.suppress(NotRunning):
            return await ask(data, "echo")
        await asyncio.sleep(0)
    raise AssertionError("never")


def test_a_long_path(tmp_path: Path) -> None:
    """An address of this family has room for 107 bytes."""
    data = tmp_path / ("f" * 120) / ("g" * 120)
    data.mkdir(parents=True)

    async def story(door: ControlDoor) -> None:
        assert (await ask(data, "echo"))["verb"] == "echo"

    play(data, story)


def test_a_folder_that_holds_no_socket_costs_only_the_door(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / control.NAME).mkdir()
    asyncio.run(ControlDoor(tmp_path, {"echo": echo}).run())  # returns, says so once
    assert "cannot ask us" in caplog.text


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"\xff\x00\x80garbage\n", "one JSON object"),
        (b"\n", "one JSON object"),
        (b"[1]\n", "one JSON object"),
        (b'"alarms"\n', "one JSON object"),
        (b'{"verb":"echo","n":NaN}\n', "one JSON object"),
        (b'{"verb":"echo","deep":' + b"[" * 30_000 + b"]" * 30_000 + b"}\n", "one JSON object"),
        (b'{"verb":"echo","x":"\\ud800"}\n', "one JSON object"),
        (b"{}\n", "names its verb"),
        (b'{"verb":7}\n', "names its verb"),
        (b'{"verb":"' + b"x" * 51 + b'"}\n', "names its verb"),
        (b'{"verb":"__class__"}\n', "does not know '__class__'; it knows count, echo"),
        (b'{"verb":"count","to":"3"}\n', "count: to: a number is needed"),
        (b'{"verb":"count","to":true}\n', "count: to: a number is needed"),
        (b'{"verb":"count","to":1e400}\n', "one JSON object"),
        (b'{"verb":"count"}\n', "count: to: a number is needed"),
        (b"x" * control.MOST_BYTES + b"x\n", "at most 65536 bytes"),
    ],
    ids=lambda x: x[:24].decode("latin-1") if isinstance(x, bytes) else "",
)
def test_hostile_requests_get_one_line(tmp_path: Path, said: bytes, error: str) -> None:
    async def story(door: ControlDoor) -> None:
        got = (await raw(tmp_path, said)).splitlines()
        assert len(got) == 1
        answer = json.loads(got[0])
        assert list(answer) == ["error"]
        assert error in answer["error"]
        assert "\n" not in answer["error"]
        assert (await ask(tmp_path, "echo"))["verb"] == "echo", "the next one is served as ever"

    play(tmp_path, story)


def test_a_flood_is_cut_off(tmp_path: Path) -> None:
    async def story(door: ControlDoor) -> None:
        got = await raw(tmp_path, b"x" * 20_000_000)  # the answer may get lost under what was sent after it
        assert got == b"" or b"at most 65536 bytes" in got
        assert (await ask(tmp_path, "echo"))["verb"] == "echo"

    play(tmp_path, story)


def test_only_one_request_a_connection(tmp_path: Path) -> None:
    async def story(door: ControlDoor) -> None:
        got = await raw(tmp_path, b'{"verb":"echo"}\n{"verb":"echo"}\n')
        assert len(got.splitlines()) == 1

    play(tmp_path, story)


def test_slow_and_half_open_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing, half of it, or nothing and hangs up holds a place for seconds only."""
    monkeypatch.setattr(control, "REQUEST_WITHIN_S", 0.3)

    async def story(door: ControlDoor) -> None:
        assert b"no whole request" in await raw(tmp_path, b"")
        assert b"no whole request" in await raw(tmp_path, b'{"verb":')
        assert await raw(tmp_path, b'{"verb":', half_close=True) == b""
        assert b'"verb":"echo"' in await raw(tmp_path, b'{"verb":"echo"}\n', half_close=True), "like nc -U"
        gone, writer = await asyncio.open_unix_connection(tmp_path / control.NAME)
        writer.transport.abort()
        await until(lambda: not door._clients)
        del gone

    play(tmp_path, story)


def test_too_many_clients(tmp_path: Path) -> None:
    async def story(door: ControlDoor) -> None:
        idle = [await asyncio.open_unix_connection(tmp_path / control.NAME) for _ in range(control.CLIENTS)]
        await until(lambda: door._clients == control.CLIENTS)
        with pytest.raises(ControlError, match="16 others are being served"):
            await ask(tmp_path, "echo")
        for _, writer in idle:
            writer.close()
        await until(lambda: not door._clients)
        assert (await ask(tmp_path, "echo"))["verb"] == "echo"

    play(tmp_path, story)


def test_who_does_not_read_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WRITE_WITHIN_S", 0.3)
    ended = asyncio.Event()

    async def flood(request: Request) -> AsyncIterator[Answer]:
        try:
            while True:
                yield {"x": "y" * 10_000}
        finally:
            ended.set()

    async def story(door: ControlDoor) -> None:
        _, writer = await asyncio.open_unix_connection(tmp_path / control.NAME, limit=1)
        writer.write(b'{"verb":"flood"}\n')
        async with asyncio.timeout(SOON_S):
            await ended.wait()
        writer.close()

    play(tmp_path, story, {"flood": flood})


def test_a_stream_ends_when_its_reader_leaves_but_a_deed_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A silent stream too: it need not fail at writing first."""
    begun, ended, go, done = (asyncio.Event() for _ in range(4))

    async def silent(request: Request) -> AsyncIterator[Answer]:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
            yield {}
        finally:
            ended.set()

    async def deed(request: Request) -> Answer:
        begun.set()
        await go.wait()
        done.set()
        return {}

    async def story(door: ControlDoor) -> None:
        for verb, effect in (("silent", ended), ("deed", done)):
            begun.clear()
            _, writer = await asyncio.open_unix_connection(tmp_path / control.NAME)
            writer.write(json.dumps({"verb": verb}).encode() + b"\n")
            async with asyncio.timeout(SOON_S):
                await begun.wait()
                writer.transport.abort()
                await asyncio.sleep(0.05)  # the service may well notice
                go.set()
                await effect.wait()

    play(tmp_path, story, {"silent": silent, "deed": deed})
    assert caplog.text == "", "that somebody leaves is no defect"


def test_a_defect_costs_one_answer_and_a_broken_disk_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request) -> Answer:
        raise {"key": KeyError, "os": OSError, "late": TimeoutError}[request.text("how")]("x")

    async def unsayable(request: Request) -> Answer:
        return {"x": object()}

    async def disk(request: Request) -> Answer:
        raise JournalError("the disk is full")

    async def story(door: ControlDoor) -> None:
        for _ in range(3):
            for how in ("key", "os", "late"):
                with pytest.raises(ControlError, match="a defect in the service; its log has more"):
                    await ask(tmp_path, "broken", how=how)
            with pytest.raises(ControlError, match="a defect in the service"):
                await ask(tmp_path, "unsayable")
        assert caplog.text.count("Traceback") == 12
        with pytest.raises(ControlError, match="broke off"):
            await ask(tmp_path, "disk")

    with caplog.at_level(logging.ERROR), pytest.raises(JournalError, match="the disk is full"):
        play(tmp_path, story, {"broken": broken, "unsayable": unsayable, "disk": disk})


def test_a_verb_has_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_WITHIN_S", 0.2)

    async def forever(request: Request) -> Answer:
        await asyncio.get_running_loop().create_future()
        return {}

    async def story(door: ControlDoor) -> None:
        with pytest.raises(ControlError, match=r"forever: not done within 0\.2 s"):
            await ask(tmp_path, "forever")

    play(tmp_path, story, {"forever": forever})


def test_a_service_that_never_answers(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(tmp_path / control.NAME))
            deaf.listen(1)
            with pytest.raises(ControlError, match=r"did not answer within 0\.2 s"):
                await ask(tmp_path, "echo", within_s=0.2)
            with pytest.raises(ControlError, match="too much for one request"):
                await ask(tmp_path, "echo", text="x" * 70_000)

    asyncio.run(main())


def test_the_station_answers_while_it_runs(tmp_path: Path) -> None:
    with site(tmp_path, None, None) as place:
        place.start()
        data = tmp_path / "data"

        def running() -> Any:
            with contextlib.suppress(NotRunning):
                return asyncio.run(ask(data, "status"))

        status = services.until("the service", running)
        assert set(status["sensors"]) == set(place.outside.places)
        assert place.stop() < 5.0
        assert running() is None
        assert not (data / control.NAME).exists()
