"""Damaged files: the journal passes over what cannot be read, says so, and takes over what is older."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

import pytest

from gateway import journal_store
from gateway.errors import JournalError
from gateway.journal import Journal
from gateway.journal_tail import TailFile, read_tail
from gateway.model import Reading
from tests.crash.proof import (
    everything,
)
from tests.journals import FixedClock, drop, events, numbers, play, reading

pytestmark = pytest.mark.usefixtures("small_journal")


def test_a_damaged_block_is_passed_over_and_said_once(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        for i in range(60):
            journal.append([reading(clock, float(i))])
            await journal.sync()
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        spans = db.execute("SELECT first_seq, last_seq FROM block").fetchall()
        assert len(spans) > 3
        first, last = spans[1]
        body = db.execute("SELECT body FROM block WHERE first_seq = ?", (first,)).fetchone()[0]
        other = zlib.compressobj(6, zlib.DEFLATED, -15)
        text = zlib.decompress(body, -15).replace(b'"ph":[1', b'"ph":[8')  # looks right, and is wrong
        forged = other.compress(text) + other.flush()
        db.execute("UPDATE block SET body = ? WHERE first_seq = ?", (forged, first))
        db.commit()
        db.close()

        again = Journal(tmp_path, clock)
        await again.open()
        for _ in range(2):
            records = await everything(again)
            await again.sync()
        seqs = [record.seq for record in records if isinstance(record.body, Reading)]
        assert seqs == [seq for seq in range(1, 61) if not first <= seq <= last]
        lost = {"from_seq": first, "to_seq": last, "why": "a block cannot be read"}
        assert events(await everything(again), "loss") == [lost]
        await again.close()

    play(job)


@pytest.mark.parametrize("later", [False, True])
def test_a_damaged_file_is_set_aside_at_once_or_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, later: bool
) -> None:
    clock = FixedClock()
    if later:
        monkeypatch.setattr(journal_store, "_rehearse", lambda db: None)  # damage that it does not show

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        for i in range(40):
            journal.append([reading(clock, float(i))])
            await journal.sync()
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'block_time'").fetchone()[0]
        db.close()
        data = bytearray((tmp_path / "journal.db").read_bytes())
        data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
        (tmp_path / "journal.db").write_bytes(data)

        if later:
            hurt = Journal(tmp_path, clock)
            with pytest.raises(JournalError, match="malformed"):  # noqa: PT012  where is SQLite's affair
                await hurt.open()
                hurt.append([reading(clock, 100.0)])
                await hurt.close()
        healed = Journal(tmp_path, clock)
        await healed.open()
        records = await everything(healed)
        assert events(records, "journal_unreadable")[0]["kept_as"] == str(
            tmp_path / "journal.db.unreadable-1"
        )
        assert records[0].seq > 30  # the tail's
        assert healed.append([reading(clock, 101.0)])[0].seq > 41
        await healed.close()

    play(job)


def test_a_record_of_a_newer_version_is_kept_and_left_alone(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.sync()
        tail = journal._disk._tail
        assert tail is not None
        tail.write(b'[2,{"kind":"hologram","at":[1,"b",2,true]}]\n{"hologram":1,"cursors":7}\n')
        await drop(journal)

        again = Journal(tmp_path, clock)
        await again.open()
        records = await everything(again)
        assert [record.seq for record in records] == [1, 3]
        assert events(records, "records_unknown") == [{"from_seq": 2, "to_seq": 2, "records": 1}]
        await again.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        bodies = b"".join(zlib.decompress(row[0], -15) for row in db.execute("SELECT body FROM block"))
        db.close()
        assert b'[2,{"kind":"hologram"' in bodies  # for the version that knows it

    play(job)


def test_a_tail_is_not_continued_by_the_frames_of_a_first_attempt(tmp_path: Path) -> None:
    """After a power cut a generation may begin again under its number, over sectors of the first attempt."""
    path = tmp_path / "tail"
    first = TailFile(path, 7)
    for text in (b"[1]\n", b"[2]\n", b"[3]\n"):
        first.write(text)
    first.close()
    again = TailFile(path, 7)  # the cut took the first sector, so the generation was not seen
    again.write(b"[7]\n")
    again.close()
    found = read_tail(path)
    assert found.lines == (b"[7]",)
    assert not found.broken


def test_a_bit_that_falls_over_in_the_tail_makes_no_record(tmp_path: Path) -> None:
    """Much of a deflate stream still unpacks when a bit is wrong: to other numbers."""
    path = tmp_path / "tail"
    tail = TailFile(path, 7)
    lines = tuple(b'[%d,{"ph":%d.25}]' % (i, i * 37) for i in range(8))
    for line in lines:
        tail.write(line + b"\n")
    tail.close()
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            found = read_tail(path)
            assert found.lines == lines[: len(found.lines)], (at, bit)
            assert found.broken, (at, bit)


def test_a_tail_knows_its_own_end(tmp_path: Path) -> None:
    path = tmp_path / "tail"
    path.write_bytes(b"\xff" * 200)  # an older generation, longer than this one
    tail = TailFile(path, 7)
    for text in (b"[1]\n", b"[2]\n"):
        tail.write(text)
        assert not read_tail(path).broken
    end = tail._at
    tail.close()
    whole = path.read_bytes()
    for spoiled in (whole[:end], whole[: end + 3], whole[:end] + bytes(200), whole[: end - 1], b"\0" * 300):
        path.write_bytes(spoiled)
        assert read_tail(path).broken


def test_a_file_of_version_1_is_taken_over(tmp_path: Path) -> None:
    clock = FixedClock()

    async def job() -> None:
        journal = Journal(tmp_path, clock)
        await journal.open()
        journal.append([reading(clock, 1.0)])
        await journal.close()
        db = sqlite3.connect(tmp_path / "journal.db")
        db.execute("ALTER TABLE block DROP COLUMN after_seq")
        for column in ("crc", "number", "previous", "public", "signature"):
            db.execute(f"ALTER TABLE block DROP COLUMN {column}")
        db.execute("UPDATE state SET value = CAST(substr(value, 1, length(value) - 9) AS BLOB)")
        db.execute("PRAGMA user_version = 1")
        db.commit()
        db.close()
        again = Journal(tmp_path, clock)
        await again.open()
        again.append([reading(clock, 2.0)])
        await again.sync()
        records = await everything(again)
        assert numbers(records) == [1.0, 2.0]
        assert [record.seq for record in records] == [1, 2]
        await again.close()

    play(job)
