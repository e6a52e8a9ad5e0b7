"""Grafana Live: what is new is pushed, what is old is dropped and counted, and nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gateway import config
from gateway.clock import Clock
from gateway.doctor_grafana import check_grafana_live
from gateway.errors import ConfigError
from gateway.grafana_live import AT_ONCE, Door, GrafanaLive
from gateway.influx_lines import Lines
from gateway.journal import Journal
from gateway.model import Event, Reading, Stamp, Value
from tests.services import Asked, Reply, ScriptedWeb
from tests.site import site

TOKEN = "glsa_very-secret"
HEAD = '[station]\nid = "s"\n[[sensor]]\nid = "d"\nport = "/dev/x"\nmodel = "plantower"\n'


@pytest.fixture
def grafana() -> Iterator[ScriptedWeb]:
    web = ScriptedWeb()
    web.otherwise = Reply(200)
    yield web
    web.close()


def one(n: int) -> Reading:
    return Reading("ph1", "m", "water", Stamp(1_000_000 + n, "b", n, True), {"ph": Value(7.0, 7.0, "pH", 1)})


def play(job: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(40):
            await job()

    asyncio.run(within())


@contextlib.asynccontextmanager
async def pushing(
    folder: Path, grafana: ScriptedWeb, within_s: float = 1.0
) -> AsyncIterator[tuple[Journal, GrafanaLive]]:
    journal = Journal(folder, Clock("trust"), commit_s=0.05, sync_s=1.0)
    await journal.open()
    keeper = asyncio.create_task(journal.run())
    door = lambda: Door(grafana.url, "suuaba", lambda: TOKEN)  # noqa: E731  as the station makes it
    live = GrafanaLive("kyia-1", journal, door, jitter=lambda: 0.02, within_s=within_s)
    task = asyncio.create_task(live.run())
    try:
        await asyncio.sleep(0)
        yield journal, live
        assert not task.done()
    finally:
        for ended in (task, keeper):
            ended.cancel()
        await asyncio.wait([task, keeper])
        await journal.close()


async def becomes(condition: Callable[[], bool]) -> None:
    """Ask until it is so; the deadline is that of `play`."""
    while not condition():  # noqa: ASYNC110  what is asked makes no event
        await asyncio.sleep(0.01)


def test_a_reading_is_pushed_with_the_token_in_nanoseconds(tmp_path: Path, grafana: ScriptedWeb) -> None:
    async def job() -> None:
        async with pushing(tmp_path, grafana) as (journal, live):
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            journal.append([one(1), Event(one(1).at, "x", {}), one(2)])
            await becomes(lambda: live.pushed == 2)
            assert loop.time() - began_s < 5.0  # on a machine that does much else; the commit is 0.05 s
            [asked] = grafana.asked
            assert asked.line == "POST /api/live/push/suuaba HTTP/1.1"
            assert asked.headers["authorization"] == f"Bearer {TOKEN}"
            lines = [f"{Lines('kyia-1').reading(one(n))}000000" for n in (1, 2)]
            assert asked.body.decode() == "\n".join(lines)
            assert asked.body.endswith(b"ph=7.0,ph_raw=7.0,ph_flag=1i 1000002000000")
            assert live.health() == {"pushed": 2, "dropped": 0}

    play(job)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(401, "{}"), "401 it does not know the token"),
        (Reply(403), "403 the token may not push"),
        (Reply(404), "404 there is no push endpoint"),
        (Reply(500, f"{'x' * 5000}"), "500 xxx"),
        (Reply(302, headers={"Location": "http://127.0.0.1:1/"}), "302"),
        (Reply(hang_s=30), "no answer within 1 s"),
    ],
)
def test_trouble_is_said_once_and_what_is_new_then_goes_on(
    tmp_path: Path, grafana: ScriptedWeb, reply: Reply, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    grafana.script = [reply]

    async def job() -> None:
        async with pushing(tmp_path, grafana) as (journal, live):
            journal.append([one(1)])
            await becomes(lambda: live.dropped >= 1 or live.pushed >= 1)
            assert said in live.trouble
            assert len(live.trouble) < 400
            n = 1
            while not live.pushed:
                n += 1
                journal.append([one(n)])
                await asyncio.sleep(0.05)
                for web in [*grafana._connections]:
                    if reply.hang_s:
                        with contextlib.suppress(OSError):
                            web.shutdown(2)  # the far side gives up: the hanging request ends
            assert live.trouble == ""
            assert "1000001000000" not in grafana.asked[-1].body.decode()  # no backlog

    play(job)
    told = [r.getMessage() for r in caplog.records if r.name == "gateway.grafana_live"]
    assert len(told) == 2, told
    assert TOKEN not in caplog.text


def test_while_one_hangs_no_other_is_begun_and_the_journal_goes_on(
    tmp_path: Path, grafana: ScriptedWeb
) -> None:
    grafana.otherwise = Reply(hang_s=60)

    async def job() -> None:
        async with pushing(tmp_path, grafana, within_s=0.2) as (journal, live):
            for n in range(1, 8):
                journal.append([one(n)])
                await becomes(functools.partial(lambda n: live.dropped >= n, n))
            threads = [t for t in threading.enumerate() if t.name == "grafana-live"]
            assert len(threads) == 1
            assert len(grafana.asked) == 1
            assert live.trouble
            assert journal.committed_seq >= 7
            assert live.pushed == 0
        assert live.dropped == 7

    play(job)


def test_what_is_too_old_to_be_live_is_dropped_and_counted(tmp_path: Path, grafana: ScriptedWeb) -> None:
    free = threading.Event()

    def slow(asked: Asked) -> Reply:
        free.wait(20)
        return Reply(200)

    grafana.otherwise = slow

    async def job() -> None:
        async with pushing(tmp_path, grafana, within_s=30) as (journal, live):
            journal.append([one(0)])
            await becomes(lambda: len(grafana.asked) == 1)
            journal.append([one(n) for n in range(1, AT_ONCE + 301)])
            await becomes(lambda: journal.committed_seq >= AT_ONCE + 301)
            free.set()
            await becomes(lambda: live.pushed == AT_ONCE + 1)
            assert live.dropped == 300
            assert grafana.asked[-1].body.count(b"\n") == AT_ONCE - 1
            newest = f" {1_000_000 + AT_ONCE + 300}000000".encode()
            assert grafana.asked[-1].body.endswith(newest)

    play(job)


def test_nothing_from_before_the_start_is_pushed(tmp_path: Path, grafana: ScriptedWeb) -> None:
    async def before() -> None:
        journal = Journal(tmp_path, Clock("trust"))
        await journal.open()
        journal.append([one(1)])
        await journal.close()

    async def job() -> None:
        async with pushing(tmp_path, grafana) as (journal, live):
            journal.append([one(2)])
            await becomes(lambda: live.pushed == 1)
            assert b"1000001" not in grafana.asked[0].body

    play(before)
    play(job)


def test_a_station_pushes_and_says_so(tmp_path: Path, grafana: ScriptedWeb) -> None:
    """The whole program: its readings come, and the token is in no log and in no file but its own."""
    with site(tmp_path, None, None) as place:
        (tmp_path / "grafana.token").write_text(TOKEN)
        (tmp_path / "grafana.token").chmod(0o600)
        text = place.file.read_text().split("[web]")[0]
        live = f'\n[grafana_live]\nurl = "{grafana.url}"\ntoken = {{ file = "grafana.token" }}\n'
        place.file.write_text(text + live)
        found = asyncio.run(check_grafana_live(config.load(place.file)))
        assert [f.level for f in found] == ["ok"]
        place.start()
        deadline = threading.Event()
        while not any(b"water," in asked.body for asked in list(grafana.asked)):
            assert not deadline.wait(0.05)
            assert place.process is not None
            assert place.process.poll() is None, place.log.read_text()
        place.stop()
        assert TOKEN not in place.log.read_text()


def test_the_doctor_says_what_helps(tmp_path: Path, grafana: ScriptedWeb) -> None:
    (tmp_path / "t").write_text(TOKEN)
    (tmp_path / "t").chmod(0o600)
    live = f'[grafana_live]\nurl = "{grafana.url}"\ntoken = {{ file = "t" }}\n'
    (tmp_path / "station.toml").write_text(HEAD + live)
    wanted = config.load(tmp_path / "station.toml")
    grafana.otherwise = Reply(401)
    [found] = asyncio.run(check_grafana_live(wanted))
    assert (found.level, "role Editor" in found.remedy) == ("failure", True)
    grafana.close()
    [found] = asyncio.run(check_grafana_live(wanted))
    assert (found.level, "Grafana running" in found.remedy) == ("failure", True)
    assert TOKEN not in str(found)


@pytest.mark.parametrize(
    ("live", "line"),
    [
        ('url = "http://x"', "grafana_live.token: is missing"),
        ('url = "x"\ntoken = { env = "T" }', "grafana_live.url"),
        ('url = "http://x"\ntoken = "glsa"', "grafana_live.token"),
        ('url = "http://x"\ntoken = { env = "T" }\nstream = "a/b"', "grafana_live.stream"),
    ],
)
def test_mistakes_in_the_file_are_one_line(tmp_path: Path, live: str, line: str) -> None:
    file = tmp_path / "station.toml"
    file.write_text(f"{HEAD}[grafana_live]\n{live}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(file, environment={"T": "a"})
    assert [one for one in caught.value.lines if line in one], caught.value.lines
    assert len(caught.value.lines) == 1
