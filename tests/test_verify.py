"""The evidence chain: an honest journal is whole, whatever befell it in an honest life."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import journal_rhythm
from gateway.journal import Journal
from gateway.journal_blocks import Reader
from gateway.journal_chain import NOTHING, link, text
from gateway.model import Record
from gateway.verify import journal
from tests.chains import appended, blocks, made, run_sql
from tests.forging import ANYONE, openssl, suuaba
from tests.journals import FixedClock, drop, events, everything, numbers, play, reading


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    made(folder, 6, tail=5)
    return folder


def test_an_honest_journal_is_whole(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suuaba(honest, "--key", honest / "station.pub") == 0
    out = capsys.readouterr().out
    assert "whole: 7 blocks, 121 records, seq 1 to 121" in out  # with the event that says of the key
    assert "5 records, seq 122 to 126, are in no block yet: whole, but not proven" in out
    assert suuaba(honest) == 0
    assert "no --key was named" in capsys.readouterr().out


def test_the_key_is_the_stations_alone(honest: Path) -> None:
    assert stat.S_IMODE((honest / "station.key").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (honest / "station.pub").read_bytes()


def test_openssl_agrees(honest: Path, tmp_path: Path) -> None:
    """The texts, signatures and keys are what OpenSSL, which knows nothing of us, finds right."""
    derived = subprocess.run(
        ["openssl", "pkey", "-in", honest / "station.key", "-pubout"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert derived.stdout.split() == (honest / "station.pub").read_bytes().split()
    previous = NOTHING
    for block in blocks(honest):
        assert block.previous == previous
        # the text by hand, from README's words
        own = (
            f"suuaba block 1\nblock {block.number}\nprevious {previous.hex()}\n"
            f"seq {block.first_seq} {block.last_seq}\nafter {block.after_seq}\n"
            f"time {block.from_ms} {block.to_ms}\nrecords {block.records}\n"
            f"body {hashlib.sha256(block.body).hexdigest()}\nkey {block.public.hex()}\n"
        ).encode()
        assert openssl(honest / "station.pub", own, block.signature, tmp_path)
        assert not openssl(honest / "station.pub", own + b" ", block.signature, tmp_path)
        previous = hashlib.sha256(own + block.signature).digest()


def test_retention_keeps_the_chain_provable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal_ = Journal(tmp_path, clock, make_key=True, keep_s=100.0)
        await journal_.open()
        for number in range(8):
            for _ in range(20):
                clock.now_ms += 1000
                journal_.append([reading(clock, number)])
            await journal_._retain()
            assert await journal_._settle()
        await journal_.close()

    play(job)
    assert blocks(tmp_path)[0].number in (4, 5)
    assert suuaba(tmp_path) == 0
    assert "were removed by the station: retention" in capsys.readouterr().out
    run_sql(tmp_path, "DELETE FROM block WHERE first_seq = ?", blocks(tmp_path)[0].first_seq)
    assert suuaba(tmp_path) == 1


def test_a_journal_of_version_2_is_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, 3)
    for column in ("number", "previous", "public", "signature"):
        run_sql(tmp_path, f"ALTER TABLE block DROP COLUMN {column}")
    run_sql(tmp_path, "PRAGMA user_version = 2")
    with Reader(tmp_path) as reader:
        assert len(list(reader.blocks())) == 4  # a copy of the old version can be read as it is
    forget_chain(tmp_path)
    clock = FixedClock()

    async def job() -> None:
        journal_ = Journal(tmp_path, clock, make_key=True)
        await journal_.open()
        journal_.append([reading(clock, 9.0)])
        records = await everything(journal_)
        assert len(numbers(records)) == 60
        await journal_.close()

    play(job)
    assert suuaba(tmp_path) == 0
    out = capsys.readouterr().out
    assert "4 blocks up to seq 61 are from before the chain: unproven" in out
    assert "whole: 1 blocks, 1 records, seq 62 to 62" in out
    assert not list(tmp_path.glob("*unreadable*"))


def forget_chain(folder: Path) -> None:
    """What version 2 remembered had no chain."""
    import zlib

    with Reader(folder) as reader:
        said = json.loads(reader._state("memory").rpartition(b" ")[0])
    del said["block"], said["link"]
    plain = json.dumps(said).encode()
    run_sql(
        folder, "UPDATE state SET value = ? WHERE key = 'memory'", b"%s %08x" % (plain, zlib.crc32(plain))
    )


def test_a_journal_that_was_set_aside_goes_on_from_its_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, 3)
    old = blocks(tmp_path)[-1]
    (tmp_path / "journal.db").write_bytes(b"no database " * 1000)
    for name in ("journal.db-wal", "journal.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    clock = FixedClock()
    found: list[Record] = []

    async def job() -> None:
        journal_ = Journal(tmp_path, clock, make_key=True)
        await journal_.open()
        journal_.append([reading(clock, 9.0)])
        await journal_.sync()
        found.extend(await everything(journal_))
        await journal_.close()

    play(job)
    [said] = events(found, "chain_begun")
    assert said["goes_on_from_block"] == old.number
    assert said["hash"] == link(text(old), old.signature).hex()
    first = blocks(tmp_path)[0]
    assert (first.number, first.previous) == (5, link(text(old), old.signature))
    assert suuaba(tmp_path) == 0
    assert (
        "blocks up to 4 were removed by the station: the journal before could not be read"
        in capsys.readouterr().out
    )


def test_a_torn_tail_does_not_break_the_chain(tmp_path: Path) -> None:
    clock = FixedClock()
    made(tmp_path, 2, tail=10, clock=clock)
    tail = tmp_path / "tail"
    with Reader(tmp_path) as reader:
        end = reader.tail().end
    data = bytearray(tail.read_bytes())
    data[end - 30 :] = bytes(len(data) - end + 30)
    tail.write_bytes(data)
    assert "tail: torn or changed behind seq" in journal(tmp_path, ANYONE).wrong[0]
    clock.boot = "boot0002"
    appended(tmp_path, [reading(clock, 5.0)], clock)
    assert not journal(tmp_path, ANYONE).wrong
    with Reader(tmp_path) as reader:
        said = [line for block in reader.blocks() for line in block.lines() if b'"loss"' in line]
    assert said, "numbers jumped, and nothing says so"


def test_a_damaged_key_costs_no_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, 2)
    old = (tmp_path / "station.pub").read_bytes()
    (tmp_path / "old.pub").write_bytes(old)
    (tmp_path / "station.key").write_bytes(b"rubbish")
    appended(tmp_path, [reading(FixedClock(), 5.0)])
    assert (tmp_path / "station.key.unreadable-1").read_bytes() == b"rubbish"
    assert (tmp_path / "station.pub").read_bytes() != old
    assert suuaba(tmp_path) == 1
    assert "block 4, seq 42 to 42" in (out := capsys.readouterr().out)
    assert "from here on signed with another key" in out
    assert suuaba(tmp_path, "--key", tmp_path / "old.pub", "--key", tmp_path / "station.pub") == 0


def test_the_head_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.evidence_heads import Heads

    monkeypatch.setattr(journal_rhythm, "GATHER_S", 0.0)
    clock = FixedClock()

    async def job() -> None:
        journal_ = Journal(tmp_path, clock, make_key=True)
        await journal_.open()
        task = asyncio.create_task(Heads(journal_, clock.stamp, every_s=0.01).run())
        for n in range(3):
            journal_.append([reading(clock, n)])
            assert await journal_._settle()
            seen = journal_.last_seq
            await until(lambda seen=seen: journal_.last_seq > seen)
        await journal_.sync()
        said = events(await everything(journal_), "chain_head")
        assert [head["block"] for head in said][:3] == [1, 2, 3]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await drop(journal_)

    play(job)


async def until(done: Callable[[], bool]) -> None:
    for _ in range(20_000):
        if done():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("not within 20 s")


def test_a_sane_line_for_what_cannot_be_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "a.csv"
    table.write_text("a,b\n")
    assert suuaba(table) == 2
    assert "carries no proof" in capsys.readouterr().err
    assert suuaba(tmp_path / "nothing") == 2
    assert suuaba(tmp_path) == 2  # no journal there
    assert suuaba(tmp_path, "--key", "xyz") == 2
    assert suuaba(tmp_path, "--heads", tmp_path / "none") == 2
    (tmp_path / "journal.db").write_bytes(b"rubbish " * 100)
    assert suuaba(tmp_path) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
