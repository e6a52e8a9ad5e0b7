"""The way to a provider: servers that hang, dribble or are not there, TLS, secrets, threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from alerts import provider
from alerts.cms import SmsError, SmsFix, SmsRetry, SmsUnknown
from alerts.provider import Provider
from alerts.provider_request import make
from alerts.provider_wire import HANGING_LIMIT, Web
from tests.provider_desk import GOOD, SETTINGS, TO, at, failing, fields_of, send
from tests.services import Reply, ScriptedWeb, make_certificates

# ── the wire ────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def raw_server(serve: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that does what the test says with each connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def one(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            serve(connection)
        with contextlib.suppress(OSError):
            connection.close()

    def accept() -> None:
        while not ending.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                connections.append(connection)
                threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
                threads[-1].start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        ending.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.close()
        for each in (thread, *threads):
            each.join(10)


def kannel_at(port: int, scheme: str = "http", **web: Any) -> Provider:
    url = {"url": f"{scheme}://127.0.0.1:{port}"}
    return Provider(provider.find("kannel"), SETTINGS["kannel"] | url, web=Web(**web))


def no_thread_is_left() -> bool:
    return not any(thread.name == "sms-provider" for thread in threading.enumerate())


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def measured(work: Coroutine[Any, Any, Any]) -> tuple[Any, int]:
    """Run it beside a task that counts; give what it raised, and how often the loop came by meanwhile."""

    async def run() -> tuple[Any, int]:
        ticks = 0

        async def count() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        counting = asyncio.create_task(count())
        try:
            result: Any = await work
        except SmsError as e:
            result = e
        counting.cancel()
        return result, ticks

    return asyncio.run(run())


def test_a_server_that_hangs_leaves_the_end_open_and_the_loop_free(web: ScriptedWeb) -> None:
    web.otherwise = Reply(hang_s=60)
    path = kannel_at(web.port, answer_s=0.4)
    error, ticks = measured(path.send(TO, "x", reference=0))
    assert type(error) is SmsUnknown
    assert "no answer within 0.4 s" in str(error)
    assert ticks > 3
    until(no_thread_is_left)  # its socket was shut, so the thread is gone long before the server is


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 202 OK\r\nX: ", b"HTTP/1.1 202 OK\r\nContent-Length: 500\r\n\r\n0: Acc"]
)
def test_a_server_that_dribbles_for_ever_is_given_up(sent: bytes) -> None:
    def dribble(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(sent)
        while True:
            connection.sendall(b"a")
            time.sleep(0.02)

    with raw_server(dribble) as port:
        error, _ = measured(kannel_at(port, answer_s=0.4).send(TO, "x", reference=0))
        assert type(error) is SmsUnknown
        until(no_thread_is_left)


def test_nobody_there_is_a_retry_and_nothing_was_sent() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        error = failing(kannel_at(int(sock.getsockname()[1])))
    assert type(error) is SmsRetry
    assert "127.0.0.1 cannot be reached: Connection refused" in str(error)


def test_a_name_that_is_none_is_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    error = failing(Provider(provider.find("kannel"), SETTINGS["kannel"] | {"url": "http://sms.example"}))
    assert type(error) is SmsRetry
    assert "sms.example cannot be reached: " in str(error)


def test_a_name_that_is_looked_up_for_ever_is_given_up_and_never_sent_to_later(
    web: ScriptedWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing interrupts the resolver: its thread hangs on, and must not send when it gets through."""
    hanging, look_up = threading.Event(), socket.getaddrinfo

    def slowly(*args: Any, **more: Any) -> Any:
        hanging.wait(60)
        return look_up(*args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    error, ticks = measured(kannel_at(web.port, reach_s=0.3).send(TO, "x", reference=0))
    assert type(error) is SmsRetry
    assert "no connection within 0.3 s" in str(error)
    assert ticks > 3
    hanging.set()
    until(no_thread_is_left)
    assert web.asked == []


def test_requests_that_hang_are_limited() -> None:
    with raw_server(lambda connection: time.sleep(2)) as port:
        path = kannel_at(port, answer_s=0.05)
        path._web._hanging = HANGING_LIMIT
        error = failing(path)
    assert type(error) is SmsRetry
    assert "4 earlier requests still hang" in str(error)


def test_requests_that_have_ended_are_not_counted(web: ScriptedWeb) -> None:
    path = at("kannel", web)
    web.script = [GOOD["kannel"], Reply(403), Reply(hang_s=0.01)] * HANGING_LIMIT

    async def run() -> None:
        for _ in range(len(web.script)):
            with contextlib.suppress(SmsFix, SmsUnknown):
                await path.send(TO, "x", reference=0)

    asyncio.run(run())
    assert len(web.asked) == 3 * HANGING_LIMIT


def test_cancelling_frees_the_caller_at_once_and_the_thread_soon(web: ScriptedWeb) -> None:
    web.otherwise = Reply(hang_s=60)

    async def run() -> float:
        sending = asyncio.create_task(at("kannel", web).send(TO, "x", reference=0))
        await asyncio.to_thread(until, lambda: bool(web.asked))
        began_s = time.monotonic()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        return time.monotonic() - began_s

    assert asyncio.run(run()) < 10
    until(no_thread_is_left)


def test_the_loop_may_end_before_the_request() -> None:
    with raw_server(lambda connection: time.sleep(0.3)) as port:

        async def run() -> None:
            sending = asyncio.create_task(kannel_at(port).send(TO, "x", reference=0))
            await asyncio.sleep(0.05)
            sending.cancel()

        asyncio.run(run())
        until(no_thread_is_left)


def accepting(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 202 A\r\nContent-Length: 24\r\n\r\n0: Accepted for delivery")


def test_a_certificate_is_checked_against_the_authority_and_the_name(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    with raw_server(accepting, tls) as port:
        error = failing(kannel_at(port, "https"))
        assert type(error) is SmsFix
        assert "its certificate does not fit" in str(error)
        assert "Check this station's clock" in str(error)
        url = {"url": f"https://localhost:{port}"}
        ours = Web(ca=str(tmp_path / "ca.crt"))
        assert send(Provider(provider.find("kannel"), SETTINGS["kannel"] | url, web=ours))
    error = failing(kannel_at(1, "https", ca=str(tmp_path / "none.crt")))
    assert type(error) is SmsFix
    assert "the certificate authority's file: No such file" in str(error)


def test_plain_http_where_tls_is_asked_for_is_not_spoken_to() -> None:
    got: list[bytes] = []
    with raw_server(lambda connection: got.append(connection.recv(4096))) as port:
        error = failing(kannel_at(port, "https"))
    assert type(error) is SmsRetry
    assert b"password" not in b"".join(got)


def test_secrets_stay_out_of_logs_errors_and_repr(web: ScriptedWeb, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name, good in GOOD.items():
        path = at(name, web)
        web.script = [
            good,
            Reply(401),
            Reply(cut=True, status=200, body="x" * 50),
            Reply(200, "?"),
            Reply(200, "?"),
        ]
        send(path)
        for _ in range(2):
            error = failing(path)
            assert error.__cause__ is None
            assert "s3cret" not in repr(error)
            assert urllib.parse.quote("s3cret+/&", safe="") not in str(error)
        for attribute in (
            path,
            path.form,
            path._web,
            make(path.form.request, path._values(TO, "x") | {"id": "i"}),
        ):
            assert "s3cret" not in repr(attribute)
            assert "s3cret" not in str(attribute)
        web.script = []
    assert "s3cret" not in caplog.text


def test_a_mended_secret_counts_without_a_restart(web: ScriptedWeb) -> None:
    words = ["old", "new"]
    path = at("kannel", web, settings={"password": lambda: words[0]})
    web.script = [Reply(403, "Authorization failed for sendsms"), GOOD["kannel"]]
    failing(path)
    words.pop(0)
    send(path)
    assert [fields_of(asked)["password"] for asked in web.asked] == ["old", "new"]
