"""The stream's limits: a reader that does not read is let go, and nobody else notices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.clock import Clock
from gateway.dating import DatingFold
from gateway.journal import Journal
from gateway.model import Event, Reading, Stamp, Value
from gateway.web.endpoint import Bad
from gateway.web.stream import CLIENTS, OF_ONE_ADDRESS, QUEUE, Client, Stream, messages


def site(journal: Any) -> Any:
    """As much of a site as the stream needs for records."""
    clock, dating = Clock("trust"), DatingFold()
    return SimpleNamespace(
        station=SimpleNamespace(journal=journal, clock=clock, dating=dating),
        digits={},
        true_ms=lambda stamp: stamp.utc_ms,
    )


def reading(n: int) -> Reading:
    return Reading("ph1", "m", "water", Stamp(1000 + n, "b", n, True), {"ph": Value(7.0, 7.0, "pH", 1)})


def test_who_does_not_read_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "_status", lambda self, site: None)

    async def run() -> None:
        journal = Journal(tmp_path, Clock("trust"), commit_s=0.05)
        await journal.open()
        stream, place = Stream(), site(journal)
        slow, quick = Client("192.0.2.1", technician=True), Client("192.0.2.2", technician=False)
        stream.join(slow)
        stream.join(quick)
        tasks = [asyncio.create_task(journal.run()), asyncio.create_task(stream.run(place))]
        got = 0
        try:
            async with asyncio.timeout(30):
                for begin in range(0, 3 * QUEUE, 50):
                    journal.append([reading(n) for n in range(begin, begin + 50)])
                    while got < begin + 50:
                        await quick.woken.wait()
                        quick.woken.clear()
                        got += sum(b"event: reading" in message for message in quick.queue)
                        quick.queue.clear()
            assert slow.dropped
            assert len(slow.queue) == 0
            assert not quick.dropped
            assert got == 3 * QUEUE
            stream.leave(slow)
            assert stream.dropped == 1
            journal.append([reading(9999)])
            async with asyncio.timeout(30):
                seq = 0
                while True:
                    await journal.more(seq)
                    records = await journal.after(seq, 500)
                    seq = records[-1].seq
                    told = [r.body for r in records if isinstance(r.body, Event) and r.body.what == "page"]
                    if told:
                        break
            assert told[0].detail == {"dropped": 1, "why": "read too slowly"}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await journal.close()

    asyncio.run(run())


def test_there_is_room_for_so_many_and_no_more() -> None:
    async def run() -> None:
        stream = Stream()
        for n in range(CLIENTS):
            stream.join(Client(f"192.0.2.{n // OF_ONE_ADDRESS}", technician=False))
        with pytest.raises(Bad) as full:
            stream.join(Client("198.51.100.1", technician=False))
        assert full.value.status == 503
        stream.clients.pop()
        stream.join(Client("198.51.100.1", technician=False))

    asyncio.run(run())


def test_ten_thousand_who_listen_are_bounded() -> None:
    async def run() -> None:
        stream = Stream()
        told = 0
        for n in range(10_000):
            try:
                stream.join(Client(f"198.51.{n // 250}.{n % 250}", technician=False))
            except Bad as e:
                told += e.status == 503 and e.retry_after_s > 0
        assert (len(stream.clients), told) == (CLIENTS, 10_000 - CLIENTS)
        for client in stream.clients:
            for _ in range(10_000):
                client.put(b"x")
            assert client.dropped
            assert len(client.queue) == 0

    asyncio.run(run())


def test_what_everybody_sees_of_events() -> None:
    at = Stamp(1000, "b", 0, True)
    place = site(None)
    detail = {"rule": "r", "to": "shelved", "by": "Aibek", "why": "secret"}
    public, full = messages(place, SimpleNamespace(seq=5, body=Event(at, "alarm", detail)))  # type: ignore[arg-type]  # two fields are all it has
    assert b"Aibek" not in public
    assert b"secret" not in public
    assert b"Aibek" in full
    public, full = messages(place, SimpleNamespace(seq=6, body=Event(at, "notify", {"text": "+996555"})))  # type: ignore[arg-type]  # as above
    assert public == b""
    assert b"+996555" in full
    assert full.startswith(b"event: event\nid: 6\ndata: {")
