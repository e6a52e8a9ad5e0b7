"""InfluxDB: every answer that a server may give, and what the sink makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import influx as influx_module
from gateway.errors import Refused, Unreachable
from gateway.influx import Door, InfluxSink
from gateway.influx_doors import version1, version2
from gateway.model import Event, Reading, Record
from tests.influx_points import records, series
from tests.memory_journal import MemoryJournal, reading, stamp
from tests.services import Asked, Reply, ScriptedWeb, until
from tests.sinking import following, play

ROOT = Path(__file__).parent.parent


def door1(web: ScriptedWeb) -> Callable[[], Door]:
    return version1(web.url, "stations", username="kyia", password="pässword")


def door2(web: ScriptedWeb) -> Callable[[], Door]:
    return version2(web.url, "monitoring", "stations", token="secret-token")


both = pytest.mark.parametrize("door", [door1, door2], ids=["version1", "version2"])


@both
def test_what_a_request_looks_like(
    web: ScriptedWeb, door: Callable[[ScriptedWeb], Callable[[], Door]]
) -> None:
    async def job() -> None:
        sink = InfluxSink("s1", door(web))
        await sink.deliver(records([reading(7.0), Event(stamp(), "started", {})]))
        await sink.close()

    play(job)
    first, second = web.asked
    assert "precision=ms" in first.line
    assert "precision=ns" in second.line
    assert first.headers["content-encoding"] == "gzip"
    assert (
        gzip.decompress(first.body).strip()
        == b"water,station=s1,sensor=ph1 ph=7.5,ph_raw=7.0,ph_flag=1i 1795428000000"
    )
    if door is door1:
        assert first.line == "POST /write?db=stations&precision=ms HTTP/1.1"
        assert first.headers["authorization"] == "Basic a3lpYTpww6Rzc3dvcmQ="
    else:
        assert first.line.startswith("POST /api/v2/write?")
        assert "org=monitoring" in first.line
        assert "bucket=stations" in first.line
        assert first.headers["authorization"] == "Token secret-token"


DATES = {"Retry-After": "Mon, 23 Nov 2026 10:01:30 GMT", "Date": "Mon, 23 Nov 2026 10:00:00 GMT"}


@both
@pytest.mark.parametrize(
    ("reply", "text", "retry_after_s"),
    [
        (
            Reply(401, '{"error":"authorization failed"}'),
            "check user and password, or the token.*authorization failed",
            None,
        ),
        (
            Reply(403, '{"code":"forbidden","message":"insufficient permissions"}'),
            "insufficient permissions",
            None,
        ),
        (
            Reply(404, '{"code":"not found","message":"bucket not found"}'),
            "not found; create it: influx",
            None,
        ),
        (Reply(429, "slow down", {"Retry-After": "17"}), "429 slow down", 17.0),
        (Reply(503, "busy", DATES), "503 busy", 90.0),
        (Reply(503, "busy", {"Retry-After": "Mon, 23 Nov 2026 10:01:30 GMT"}), "503 busy", None),
        (Reply(503, "busy", {"Retry-After": "soon"}), "503 busy", None),
        (Reply(503, "busy", {"Retry-After": "-3"}), "503 busy", 0.0),
        (Reply(500, '{"error":"timeout"}'), "500 timeout", None),
        (Reply(502, "<html>bad gateway</html>"), "502", None),
        (Reply(302, "", {"Location": "http://127.0.0.1:1/"}), "302", None),
        (Reply(500, "cut off in the middle", cut=True), r"http://127\.0\.0\.1", None),
        (Reply(200, "0123456789" * 20, cut=True), r"http://127\.0\.0\.1", None),
        (Reply(hang_s=0.01), r"http://127\.0\.0\.1", None),
        (Reply(500, '{"error": [1, 2'), "500", None),
    ],
)
def test_answers_that_mean_later(
    web: ScriptedWeb,
    door: Callable[[ScriptedWeb], Callable[[], Door]],
    reply: Reply,
    text: str,
    retry_after_s: float | None,
) -> None:
    async def job() -> None:
        web.otherwise = reply
        sink = InfluxSink("s", door(web))
        with pytest.raises(Unreachable, match=text) as caught:
            await sink.deliver(records(series(3)))
        assert caught.value.retry_after_s == retry_after_s
        assert "secret-token" not in str(caught.value)
        assert "pässword" not in str(caught.value)
        web.otherwise = Reply()
        await sink.deliver(records(series(3)))
        await sink.close()

    play(job)


@both
@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, '{"error":"partial write: field type conflict: input field \\"ph\\" dropped=1"}'),
        Reply(400, '{"error":"unable to parse \'x\': missing fields"}'),
        Reply(400, '{"code":"invalid","message":"unable to parse \'x\'"}'),
        Reply(422, '{"code":"unprocessable entity","message":"failure writing points: field type conflict"}'),
    ],
)
def test_answers_that_mean_never(
    web: ScriptedWeb, door: Callable[[ScriptedWeb], Callable[[], Door]], reply: Reply
) -> None:
    async def job() -> None:
        web.script = [reply]
        sink = InfluxSink("s", door(web))
        with pytest.raises(Refused, match=r"parse|conflict"):
            await sink.deliver(records(series(3)))
        await sink.close()

    play(job)


@both
def test_too_large_makes_smaller_batches_for_good(
    web: ScriptedWeb, door: Callable[[ScriptedWeb], Callable[[], Door]]
) -> None:
    async def job() -> None:
        web.otherwise = lambda asked: (
            Reply(413, "too large") if asked.body and size(asked.body) > 20 else Reply()
        )
        journal, sink = MemoryJournal(series(100)), InfluxSink("s", door(web))
        async with following(journal, sink) as follower:
            await follower.done(100)
            before = len(web.asked)
            made = journal.append(series(100))
            await follower.done(made[-1].seq)
        assert journal.refused == []
        sizes = [size(asked.body) for asked in web.asked[before:]]
        assert max(sizes) <= 25, f"it has learned: {sizes}"
        written = [
            line for a in web.asked if size(a.body) <= 20 for line in gzip.decompress(a.body).split(b"\n")
        ]
        assert len(set(written)) == 100

    def size(body: bytes) -> int:
        return gzip.decompress(body).count(b"\n") + 1

    play(job)


def test_one_record_that_is_too_large_is_set_aside(web: ScriptedWeb) -> None:
    async def job() -> None:
        web.otherwise = lambda asked: Reply(413) if b"s7," in gzip.decompress(asked.body) else Reply()
        journal = MemoryJournal([reading(1.0, f"s{n}") for n in range(10)])
        journal.records[7] = Record(8, reading(1.0, "s7,"))
        sink = InfluxSink("s", door1(web))
        web.otherwise = lambda asked: Reply(413) if b"s7" in gzip.decompress(asked.body) else Reply()
        async with following(journal, sink) as follower:
            await follower.done(10)
        assert [seq for _, seq, _ in journal.refused] == [8]

    play(job)


def test_on_a_line_that_damages_what_is_long_it_comes_in_shorter_pieces(web: ScriptedWeb) -> None:
    """As a bit in a million spoilt does it: what is long is nearly always hit, what is short seldom."""

    async def job() -> None:
        def lines(asked: Asked) -> int:
            return gzip.decompress(asked.body).count(b"\n") + 1

        web.otherwise = lambda asked: Reply(400, "unexpected EOF") if lines(asked) > 300 else Reply()
        sink = InfluxSink("s", door1(web))
        for _ in range(4):  # 2000, 1000, 500
            with contextlib.suppress(Unreachable):
                await sink.deliver(records(series(2000)))
                break
        assert [lines(asked) for asked in web.asked] == [2000, 1000, 500, *[250] * 8]
        await sink.close()

    play(job)


def test_retry_after_is_honoured_by_the_follower(web: ScriptedWeb) -> None:
    async def job() -> None:
        web.script = [Reply(429, "slow down", {"Retry-After": "1"})]
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        async with following(MemoryJournal(series(3)), InfluxSink("s", door1(web))) as follower:
            await follower.done(3)
        assert loop.time() - start_s >= 1.0

    play(job)


@both
def test_a_server_that_hangs_is_given_up(
    web: ScriptedWeb, door: Callable[[ScriptedWeb], Callable[[], Door]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        web.otherwise = Reply(hang_s=30.0)
        sink = InfluxSink("s", door(web))
        for _ in range(influx_module.HANGING_LIMIT):
            with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
                await sink.deliver(records(series(3)))
        assert sink.batch_records == 100, "a slow line gets smaller batches"
        with pytest.raises(Unreachable, match="still hang"):
            await sink.deliver(records(series(3)))

    monkeypatch.setattr(influx_module, "REQUEST_S", 0.2)
    play(job)


def test_batches_grow_again_when_the_line_is_quick(web: ScriptedWeb) -> None:
    async def job() -> None:
        sink = InfluxSink("s", door1(web))
        sink.batch_records = 100
        for count, wanted in ((99, 100), (100, 200), (150, 200), (200, 400), (3200, 800), (5000, 1600)):
            await sink.deliver(records(series(count)))
            assert sink.batch_records == wanted
        sink.batch_records = 3200
        await sink.deliver(records(series(3200)))
        assert sink.batch_records == 5000
        await sink.close()

    play(job)


HANGING = """
import asyncio, sys
from gateway.follow import follow
from gateway.influx import InfluxSink
from gateway.influx_doors import version1
from tests.memory_journal import MemoryJournal, reading, stamp

async def main():
    sink = InfluxSink("s", version1(sys.argv[1], "d"))
    following = asyncio.create_task(follow(MemoryJournal([reading(1.0)]), "influxdb", sink, stamp=stamp))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    following.cancel()
    await asyncio.wait([following])

asyncio.run(main())
"""


def test_the_process_ends_within_five_seconds_while_a_request_hangs(web: ScriptedWeb) -> None:
    web.otherwise = Reply(hang_s=60.0)
    station = subprocess.Popen([sys.executable, "-c", HANGING, web.url], cwd=ROOT, stdin=subprocess.PIPE)
    try:
        until("the request", lambda: web.asked)
        begin_s = time.monotonic()
        station.communicate(b"end\n", timeout=30)
        assert time.monotonic() - begin_s < 5, "nobody waits for the hanging thread"
        assert station.returncode == 0
    finally:
        station.kill()
        station.wait(10)


def test_a_new_token_counts_without_a_restart(web: ScriptedWeb) -> None:
    async def job() -> None:
        web.otherwise = lambda asked: Reply(204 if asked.headers["authorization"] == "Token new" else 401)
        tokens = iter(["old", "old", *["new"] * 100])
        sink = InfluxSink("s", version2(web.url, "o", "b", token=lambda: next(tokens)))
        async with following(MemoryJournal(series(3)), sink) as follower:
            await follower.done(3)
        assert [asked.headers["authorization"] for asked in web.asked][:3] == [
            "Token old",
            "Token old",
            "Token new",
        ]

    play(job)


def test_a_secret_that_cannot_be_read_is_an_outage(web: ScriptedWeb, tmp_path: Path) -> None:
    async def job() -> None:
        sink = InfluxSink("s", version2(web.url, "o", "b", token=(tmp_path / "absent").read_text))
        with pytest.raises(Unreachable, match="No such file"):
            await sink.deliver(records(series(1)))

    play(job)


def test_only_what_is_configured_is_written(web: ScriptedWeb) -> None:
    sink = InfluxSink("s", door1(web), send=["event"])
    assert [sink.wants(body) for body in (reading(1.0), Event(stamp(), "x", {}))] == [False, True]
    sink = InfluxSink("s", door1(web), send=["reading"])
    empty = Reading("x", "m", "air", stamp(), {})
    assert [sink.wants(body) for body in (reading(1.0), Event(stamp(), "x", {}), empty)] == [
        True,
        False,
        False,
    ]
