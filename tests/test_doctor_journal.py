"""The doctor and the disk: beside a writer at full speed, on a damaged journal, on a full disk."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gateway import config
from gateway import journal as journal_module
from gateway.clock import Clock
from gateway.doctor_finding import Finding, worst
from gateway.doctor_journal import Evidence, check_journal, gather
from gateway.journal import Journal
from gateway.journal_reader import JournalReader, Walk, decoded, writer_pid
from gateway.journal_tail import read_tail
from gateway.model import Event, Reading, Stamp, Value
from tests.doctors import about, one, report, station

NUMBERS = 400


def reading(at: Stamp, number: float) -> Reading:
    return Reading("dust1", "plantower", "air", at, {"pm2_5": Value(number, number, "ug/m3", 1)})


async def fill(folder: Path, *, blocks: int = 6, close: bool = True) -> None:
    """A journal of some blocks and a tail, written by the journal itself."""
    clock = Clock("trust")
    journal = Journal(folder, clock)
    await journal.open()
    for block in range(blocks):
        journal.append([reading(clock.stamp(), block * NUMBERS + n) for n in range(NUMBERS)])
        await journal.sync()
        await journal._settle()
    journal.append([reading(clock.stamp(), -1.0)])
    await journal.sync()
    if not close:  # as after a kill: with SQLite's write-ahead log, and nothing cleaned up
        killed = folder.with_name("killed")
        shutil.copytree(folder, killed)
    await journal.close()
    if not close:
        shutil.rmtree(folder)
        killed.rename(folder)


def look(tmp_path: Path) -> tuple[Evidence, list[Finding]]:
    wanted = config.load(station(tmp_path), lenient=True)

    async def scenario() -> tuple[Evidence, list[Finding]]:
        evidence = await gather(wanted, 20)
        return evidence, [*await check_journal(wanted, evidence)]

    return asyncio.run(scenario())


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's content, and when it was changed."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.iterdir()) if p.is_file()}


def test_reading_changes_nothing_and_finds_everything(tmp_path: Path) -> None:
    """After a clean end, and after a kill: not a byte is changed, and every record is there."""
    for close in (True, False):
        folder = tmp_path / str(close)
        asyncio.run(fill(folder, close=close))
        before = state_of(folder)
        walk = Walk()
        reader = JournalReader(folder)
        records = [record for _, lines in reader.blocks(walk=walk) for record in decoded(lines)]
        assert reader.quick_check(time.monotonic() + 20) == []
        reader.close()
        after = state_of(folder)
        assert {name: after[name] for name in before if name != "journal.db-shm"} == {
            name: kept for name, kept in before.items() if name != "journal.db-shm"
        }
        assert set(after) - set(before) <= {"journal.db-shm", "journal.db-wal"}
        numbers = {r.body.values["pm2_5"].raw for r in records if isinstance(r.body, Reading)}
        assert numbers == {-1.0, *map(float, range(6 * NUMBERS))}
        assert (walk.wrong, walk.whole, reader.writer_pid) == ([], True, None)
        assert ("journal.db-wal" in before) is not close


def test_beside_a_writer_at_full_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that commits each 50 ms and makes a block of each 20 KB, read again and again meanwhile: the
    writer notices nothing, and nothing is accused.
    """
    monkeypatch.setattr(journal_module, "SETTLE_BYTES", 20_000)
    wanted = config.load(station(tmp_path), lenient=True)
    clock = Clock("trust")
    journal = Journal(wanted.data, clock, commit_s=0.05, sync_s=0.2)
    seen: list[Evidence] = []

    async def write() -> None:
        number = 0
        while True:
            journal.append([reading(clock.stamp(), number + n) for n in range(50)])
            number += 50
            await asyncio.sleep(0.02)

    async def scenario() -> int:
        await journal.open()
        tasks = [asyncio.create_task(journal.run()), asyncio.create_task(write())]
        try:
            async with asyncio.timeout(50):
                while len(seen) < 15 or journal.committed_seq < 3000:
                    seen.append(await gather(wanted, 20))
                    assert not [task for task in tasks if task.done()]
                    assert journal.trouble is None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        last = journal.last_seq
        await journal.close()
        return last

    last = asyncio.run(scenario())
    assert {e.pid for e in seen} == {os.getpid()}
    for evidence in seen:
        assert (evidence.walk.wrong, evidence.pages, evidence.trouble) == ([], [], "")
        findings = asyncio.run(check_journal(wanted, evidence))
        assert worst(list(findings)) == "ok"
    assert len({e.walk.blocks for e in seen}) > 5, "no block was made while it was read"
    assert [e.last_seq for e in seen] == sorted(e.last_seq for e in seen)
    reader = JournalReader(wanted.data)
    assert {r.seq for _, lines in reader.blocks() for r in decoded(lines)} == set(range(1, last + 1))
    reader.close()


def test_who_has_the_journal(tmp_path: Path) -> None:
    """Told by the kernel's list of locks; trying the lock would lock a starting station out."""

    async def scenario() -> None:
        journal = Journal(tmp_path, Clock("trust"))
        assert writer_pid(tmp_path) is None
        await journal.open()
        assert writer_pid(tmp_path) == os.getpid()
        await journal.close()
        assert writer_pid(tmp_path) is None

    asyncio.run(scenario())
    locks = tmp_path / "locks"
    at = (tmp_path / "lock").stat()
    inode = f"{os.major(at.st_dev):02x}:{os.minor(at.st_dev):02x}:{at.st_ino}"
    lines = f"1: POSIX  ADVISORY  WRITE 11 {inode} 0 EOF\n2: FLOCK  ADVISORY  READ  12 {inode} 0 EOF\n"
    locks.write_text(f"{lines}2: -> FLOCK  ADVISORY  WRITE 13 {inode} 0 EOF\n")
    assert writer_pid(tmp_path, locks) is None
    locks.write_text(f"{lines}3: FLOCK  ADVISORY  WRITE 14 {inode} 0 EOF\n")
    assert writer_pid(tmp_path, locks) == 14


def test_a_journal_that_this_user_may_not_read() -> None:
    """Said as that, with what helps; not as a journal that is damaged, nor as a check that broke."""
    folder = Path(tempfile.mkdtemp(prefix="suuaba-doctor-"))
    folder.chmod(0o755)
    try:
        asyncio.run(fill(folder / "data", blocks=1))
        is_root = os.geteuid() == 0
        (folder / "data").chmod(0o750 if is_root else 0)
        before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if is_root else []
        _, findings = report(station(folder), before=before)
        (folder / "data").chmod(0o750)
    finally:
        shutil.rmtree(folder)
    found = one(findings, "journal")
    assert (found.level, found.what) == ("failure", "cannot be read: Permission denied")
    assert "sudo -u" in found.remedy
    assert not [f for f in findings if "broke" in f.what]
    assert any("may not write here" in f.what for f in about(findings, "disk"))


# ── damage ──────────────────────────────────────────────────────────────────────────────────────


def damage_block(folder: Path, number: int) -> None:
    db = sqlite3.connect(folder / "journal.db")
    [(first, body)] = db.execute("SELECT first_seq, body FROM block LIMIT 1 OFFSET ?", (number,)).fetchall()
    broken = bytearray(body)
    broken[len(broken) // 2] ^= 0x10
    db.execute("UPDATE block SET body = ? WHERE first_seq = ?", (bytes(broken), first))
    db.commit()
    db.close()


def test_a_damaged_block_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "data"))
    damage_block(tmp_path / "data", 2)
    evidence, findings = look(tmp_path)
    [found] = [f for f in about(findings, "journal", "") if f.level == "failure"]
    assert found.what == f"the block of records {2 * NUMBERS + 1} to {3 * NUMBERS}: its checksum is wrong"
    assert evidence.walk.read == evidence.walk.blocks == 7


def test_a_block_that_vanished_is_missed(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "data"))
    db = sqlite3.connect(tmp_path / "data" / "journal.db")
    db.execute("DELETE FROM block WHERE first_seq = ?", (2 * NUMBERS + 1,))
    db.commit()
    db.close()
    _, findings = look(tmp_path)
    [found] = [f for f in about(findings, "journal", "") if f.level == "failure"]
    assert found.what == f"a block is missing: records {2 * NUMBERS + 1} to {3 * NUMBERS}"


def test_pages_that_sqlite_does_not_like(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "data"))
    file = tmp_path / "data" / "journal.db"
    content = bytearray(file.read_bytes())
    content[-4096:] = bytes(4096)
    file.write_bytes(content)
    _, findings = look(tmp_path)
    assert worst(findings) == "failure"


def test_a_torn_tail_is_said_only_when_nobody_writes(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path / "data", close=False))
    tail = tmp_path / "data" / "tail"
    end = read_tail(tail).end
    with tail.open("r+b") as file:
        file.seek(end)
        file.write(b"\x07\x07\x07\x07")
    _, findings = look(tmp_path)
    assert any("the tail is torn" in f.what and f.level == "warning" for f in findings)


@pytest.mark.parametrize("damage", ["header", "middle", "text"])
def test_a_journal_that_cannot_be_read_is_set_aside_and_the_doctor_says_both(
    tmp_path: Path, damage: str
) -> None:
    """Before the next start and after it. The station starts all the same."""
    folder = tmp_path / "data"
    asyncio.run(fill(folder))
    file = folder / "journal.db"
    content = bytearray(file.read_bytes())
    if damage == "header":
        content[:100] = b"\xff" * 100
    elif damage == "middle":
        content[100:8192] = b"\x55" * (8192 - 100)
    else:
        content = bytearray(b"this is no database\n" * 500)
    file.write_bytes(content)
    _, findings = look(tmp_path)
    found = one(findings, "journal", "")
    assert found.level == "failure"
    assert "sets it aside and begins a new one" in found.remedy
    asyncio.run(fill(folder, blocks=1))
    evidence, findings = look(tmp_path)
    found = one(findings, "journal", "set aside")
    assert found.level == "warning"
    assert "journal.db.unreadable-1 (last 20" in found.what
    assert len(evidence.unreadable) == 1
    assert one(findings, "journal", "").level == "ok"


def test_losses_gaps_and_restarts_are_shown(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = Clock("trust")
        journal = Journal(tmp_path / "data", clock)
        await journal.open()
        at = clock.stamp()
        old = Stamp(at.utc_ms - 3 * 86_400_000, at.boot, at.mono_ms, True)
        gap = {"sensor": "dust1", "from_ms": 0, "to_ms": 1, "slots": 40, "why": "no_answer"}
        journal.append(
            [Event(old, "loss", {"from_seq": 7, "to_seq": 9, "why": "power cut", "at_most": True})]
        )
        journal.append([Event(old, "gap", gap), Event(at, "gap", gap), Event(at, "gap", gap)])
        journal.append([Event(at, "started", {})] * 4)
        await journal.close()

    asyncio.run(scenario())
    _, findings = look(tmp_path)
    assert "records 7 to 9 may be missing: power cut" in one(findings, "journal", "losses").what
    assert one(findings, "last day", "dust1").what == "gaps, in slots: 80 × no_answer"
    assert one(findings, "last day", "").what == "the station started 4 times"


# ── the disk ────────────────────────────────────────────────────────────────────────────────────


def in_a_small_disk(folder: Path, options: str, before: str) -> list[Finding]:
    """Run the doctor where the data folder is a disk of its own, seen by this process alone."""
    data, file = folder / "data", station(folder)
    data.mkdir(exist_ok=True)
    doctor = f"{sys.executable} -m gateway.cli doctor {file} --json"
    mount = f"mount -t tmpfs -o {options} none {data}"
    script = f"set -e; {mount}; {before.format(data=data)}; {doctor} || true"
    user = ["-r"] if os.geteuid() else []  # a plain user may mount in a name space of its own
    done = subprocess.run(
        ["unshare", *user, "-m", "sh", "-c", script], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["findings"]
    return [Finding(**{k: v for k, v in finding.items() if k != "title"}) for finding in found]


def test_a_full_disk(tmp_path: Path) -> None:
    fill_up = "head -c 2000000 /dev/zero > {data}/rubbish 2>/dev/null || true"
    found = about(in_a_small_disk(tmp_path, "size=1m", fill_up), "disk", str(tmp_path / "data"))
    assert found[0].level == "failure"
    assert found[0].what.startswith("full: 0.0 MB of 1.0 MB free; the journal takes nothing")


def test_a_disk_with_less_than_the_system_needs(tmp_path: Path) -> None:
    found = about(in_a_small_disk(tmp_path, "size=100m", "true"), "disk", str(tmp_path / "data"))
    assert found[0].level == "warning"
    assert "less than the 500.0 MB kept for the system" in found[0].what


def test_no_inode_is_left(tmp_path: Path) -> None:
    more = "for i in 1 2 3 4 5 6 7 8 9; do touch {data}/$i 2>/dev/null || true; done"
    found = about(in_a_small_disk(tmp_path, "size=600m,nr_inodes=5", more), "disk", str(tmp_path / "data"))
    assert found[0].level == "failure"
    assert "no file more" in found[0].what


def test_a_read_only_file_system(tmp_path: Path) -> None:
    again = "mount -o remount,ro {data}"
    found = about(in_a_small_disk(tmp_path, "size=600m", again), "disk", str(tmp_path / "data"))
    assert [f.level for f in found] == ["ok", "failure"]
    assert found[1].what == "the file system is read-only"
