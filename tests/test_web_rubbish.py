"""What is no HTTP: answered in one line, and the station's log is not filled with it."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator

import pytest

from tests.pages import StationWithPage, station_with_page

HEAD = (
    b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
)
BOMB = gzip.compress(b'{"password": "' + b"a" * 20_000_000 + b'"}')


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationWithPage]:
    with station_with_page(tmp_path_factory.mktemp("rubbish")) as found:
        found.start()
        yield found


def said_to(place: StationWithPage, request: bytes) -> bytes:
    """What comes back until the other end closes."""
    with socket.create_connection(("127.0.0.1", place.port), timeout=20) as wire:
        wire.sendall(request)
        answer = b""
        while more := wire.recv(65536):
            answer += more
    return answer


def packed(body: bytes) -> bytes:
    return HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (packed(b"this is not gzip" * 10), b"415"),
        (packed(BOMB), b"415"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", b"400"),
        (b"GET /api/now HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, b"400"),
    ],
    ids=["no gzip", "a bomb", "no chunk", "two lengths", "a long line", "TLS"],
)
def test_rubbish_is_refused_and_leaves_no_stack_in_the_log(
    place: StationWithPage, request_bytes: bytes, status: bytes
) -> None:
    assert said_to(place, request_bytes)[:13].split(b" ")[1] == status
    assert place.client().get("/healthz").status == 200
    assert "Traceback" not in place.log.read_text(errors="replace")
