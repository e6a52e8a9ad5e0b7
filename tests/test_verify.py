"""The evidence chain: whatever is changed, taken or added is found and named; an honest journal is whole."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gateway import cli, journal_chain, journal_rhythm
from gateway.journal import Journal
from gateway.journal_blocks import Reader
from gateway.journal_chain import NOTHING, link, text
from gateway.model import Record
from gateway.verify import Trusted, journal, trusted
from tests.chains import appended, blocks, changed_body, copied, flip, made, resigned, run_sql, write
from tests.journals import FixedClock, drop, events, everything, numbers, play, reading

OTHER = b"o" * 32
ANYONE = Trusted()


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    made(folder, 6, tail=5)
    return folder


def suuaba(*arguments: str | Path) -> int:
    return cli.main(["verify", *map(str, arguments)])


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


def openssl(public: Path, signed: bytes, signature: bytes, folder: Path) -> bool:
    (folder / "text").write_bytes(signed)
    (folder / "signature").write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", folder / "text"]
    done = subprocess.run([*command, "-sigfile", folder / "signature"], capture_output=True, timeout=30)
    return done.returncode == 0


# ── forgers ─────────────────────────────────────────────────────────────────────────────────────────


def change(folder: Path) -> None:
    write(folder, changed_body(blocks(folder)[2], b"1.05", b"1.95"))


def remove(folder: Path) -> None:
    run_sql(folder, "DELETE FROM block WHERE number = 3")


def remove_first(folder: Path) -> None:
    run_sql(folder, "DELETE FROM block WHERE number <= 2")


def remove_first_and_say_so(folder: Path) -> None:
    remove_first(folder)
    first = blocks(folder)[0]
    assert first.previous is not None
    signer = journal_chain.Signer(OTHER)
    text_ = journal_chain.anchor_text(2, first.previous, "retention")
    kept = {"block": 2, "previous": first.previous.hex(), "why": "retention", "public": signer.public.hex()}
    kept["signature"] = signer.sign(text_).hex()
    run_sql(folder, "INSERT INTO state VALUES ('anchor', ?)", json.dumps(kept).encode())


def remove_last(folder: Path) -> None:
    run_sql(folder, "DELETE FROM block WHERE number = 7")


def insert(folder: Path) -> None:
    """A row between two blocks: seq 0 is free only before the first, so the second makes room."""
    second, third = blocks(folder)[1:3]
    forged = changed_body(second, b"0.0", b"8.8")
    write(folder, replace(forged, first_seq=second.last_seq, last_seq=second.last_seq, records=1))
    assert third.first_seq == second.last_seq + 1


def insert_unchained(folder: Path) -> None:
    second = blocks(folder)[1]
    alone = replace(second, number=None, previous=None, first_seq=second.last_seq, records=1)
    write(folder, replace(alone, public=b"", signature=b""))


def resign(folder: Path) -> None:
    write(folder, resigned(changed_body(blocks(folder)[2], b"1.05", b"1.95"), OTHER))


def resign_in_the_name_of_the_station(folder: Path) -> None:
    """And with the station's public key beside the signature of the other."""
    block = blocks(folder)[2]
    forged = resigned(changed_body(block, b"1.05", b"1.95"), OTHER)
    write(folder, replace(forged, public=block.public))


def resign_all_that_follow(folder: Path) -> None:
    found = blocks(folder)
    previous = found[2].previous
    for i, block in enumerate(found[2:]):
        forged = resigned(changed_body(block, b"1.05", b"1.95") if i == 0 else block, OTHER, previous)
        write(folder, forged)
        previous = link(text(forged), forged.signature)
    remember(folder, previous)


def hash_all_that_follow(folder: Path) -> None:
    """Without a key: the links are made anew, the signatures are left as they were."""
    found = blocks(folder)
    previous = found[2].previous
    for i, block in enumerate(found[2:]):
        forged = changed_body(block, b"1.05", b"1.95") if i == 0 else block
        forged = replace(forged, previous=previous)
        write(folder, forged)
        previous = link(text(forged), forged.signature)
    remember(folder, previous)


def remember(folder: Path, last: bytes | None) -> None:
    """Have what the journal remembers fit to it, with the right checksum."""
    import zlib

    with Reader(folder) as reader:
        old = blocks(folder)[-1]
        memory = reader._state("memory").rpartition(b" ")[0]
    said = json.loads(memory) | {"link": (last or b"").hex(), "block": old.number}
    plain = json.dumps(said).encode()
    run_sql(
        folder, "UPDATE state SET value = ? WHERE key = 'memory'", b"%s %08x" % (plain, zlib.crc32(plain))
    )


def change_last(folder: Path) -> None:
    write(folder, changed_body(blocks(folder)[6], b"5.05", b"5.95"))


def change_time(folder: Path) -> None:
    write(folder, replace(blocks(folder)[2], to_ms=1))


def spoil_signature(folder: Path) -> None:
    write(folder, replace(blocks(folder)[2], signature=bytes(64)))


def unsign(folder: Path) -> None:
    write(folder, replace(blocks(folder)[2], public=b"", signature=b""))


def swap(folder: Path) -> None:
    second, third = blocks(folder)[1:3]
    run_sql(folder, "UPDATE block SET body = ? WHERE number = 2", third.body)
    run_sql(folder, "UPDATE block SET body = ? WHERE number = 3", second.body)


FORGERIES: dict[Callable[[Path], None], str] = {
    change: "block 3, seq 22 to 41, 2025-11-23 10:00:21Z to 2025-11-23 10:00:40Z: is not what was signed",
    remove: "WRONG: block 3, seq 22 to 41, between 2025-11-23 10:00:20Z and 2025-11-23 10:00:41Z: missing",
    remove_first: "WRONG: block 3, seq 22 to 41,",
    remove_first_and_say_so: "WRONG: block 3, seq 22 to 41,",
    remove_last: "WRONG: the end is missing: the journal had 7 blocks up to seq 121",
    insert: "WRONG: block 2, seq 21 to 21,",
    insert_unchained: "WRONG: a block, seq 21 to 21,",
    resign: "WRONG: block 3, seq 22 to 41,",
    resign_in_the_name_of_the_station: "WRONG: block 3, seq 22 to 41,",
    resign_all_that_follow: "WRONG: block 3, seq 22 to 41,",
    hash_all_that_follow: "WRONG: block 3, seq 22 to 41,",
    change_last: "WRONG: block 7, seq 102 to 121,",
    change_time: "WRONG: block 3, seq 22 to 41,",
    spoil_signature: "WRONG: block 3, seq 22 to 41,",
    unsign: "WRONG: block 3, seq 22 to 41,",
    swap: "WRONG: block 2, seq 2 to 21,",
}


@pytest.mark.parametrize("pinned", [False, True], ids=["", "pinned"])
@pytest.mark.parametrize(("forge", "said"), FORGERIES.items(), ids=[f.__name__ for f in FORGERIES])
def test_a_forgery_is_found_and_named(
    honest: Path,
    tmp_path: Path,
    forge: Callable[[Path], None],
    said: str,
    pinned: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = copied(honest, tmp_path / "copy")
    assert suuaba(copy) == 0
    capsys.readouterr()
    forge(copy)
    assert suuaba(copy, *(["--key", honest / "station.pub"] if pinned else [])) == 1
    out = capsys.readouterr().out
    assert said in out.splitlines()[0]


def test_all_of_it_made_anew_needs_the_key_or_a_witness(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(honest, tmp_path / "copy")
    previous = NOTHING
    for block in blocks(copy):
        forged = resigned(block, OTHER, previous)
        write(copy, forged)
        previous = link(text(forged), forged.signature)
    remember(copy, previous)
    assert suuaba(copy) == 0  # said in docs/evidence.md; the note says it too
    assert "may have signed all of it" in capsys.readouterr().out
    assert suuaba(copy, "--key", honest / "station.pub") == 1
    assert "WRONG: block 1" in capsys.readouterr().out
    heads = witness(honest, tmp_path)
    assert suuaba(copy, "--heads", heads) == 1
    assert "WRONG: block 7, seq 102 to 121" in capsys.readouterr().out
    assert suuaba(honest, "--heads", heads) == 0


def witness(folder: Path, tmp_path: Path) -> Path:
    """What an MQTT client kept: the head as published."""
    seed = journal_chain._seed(folder / "station.key")
    last = blocks(folder)[-1]
    head = journal_chain.Head(
        last.number or 0, last.first_seq, last.last_seq, link(text(last), last.signature)
    )
    detail = journal_chain.head_detail(head, journal_chain.Signer(seed))
    file = tmp_path / "heads.jsonl"
    message = {"station": "kyia", "seq": 130, "what": "chain_head", "detail": detail}
    file.write_text('{"what":"started"}\nnoise\nsuuaba/1/kyia/event ' + json.dumps(message) + "\n")
    signed = journal_chain.head_text(head)
    assert openssl(folder / "station.pub", signed, base64.b64decode(detail["signature"]), tmp_path)
    return file


def test_an_end_cut_off_skilfully_is_found_with_a_witness(honest: Path, tmp_path: Path) -> None:
    copy = copied(honest, tmp_path / "copy")
    heads = witness(honest, tmp_path)
    remove_last(copy)
    last = blocks(copy)[-1]
    remember(copy, link(text(last), last.signature))
    (copy / "tail").unlink()
    assert suuaba(copy, "--key", honest / "station.pub") == 0  # this is what heads are for
    found = journal(copy, trusted([], heads))
    assert "the end is missing: block 7 was published" in found.wrong[0]


def test_a_forged_witness_is_refused(
    honest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = witness(honest, tmp_path)
    heads.write_text(heads.read_text().replace('"block": 7', '"block": 9'))
    assert suuaba(honest, "--heads", heads) == 2
    assert "line 3" in capsys.readouterr().err


def content(folder: Path) -> list[bytes]:
    with Reader(folder) as reader:
        lines = [line for block in reader.blocks() for line in block.lines()]
        return lines + [line for line in reader.tail().lines if line.startswith(b"[")]


@pytest.mark.parametrize("name", ["journal.db", "tail"])
def test_any_flipped_bit_is_found_or_changes_nothing(honest: Path, tmp_path: Path, name: str) -> None:
    """Bits in free pages and in the index may flip unseen; no record is then another."""
    from gateway.errors import JournalError

    db = sqlite3.connect(honest / "journal.db")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    wanted, random, found = content(honest), Random(20261124), 0
    size = (honest / name).stat().st_size
    for i in range(100):
        copy = copied(honest, tmp_path / str(i))
        flip(copy / name, random.randrange(size), random.randrange(8))
        try:
            wrong = journal(copy, ANYONE).wrong
        except JournalError:
            found += 1
            continue
        found += bool(wrong)
        assert wrong or content(copy) == wanted, (i, name)
    assert found > 8, found


# ── an honest life ──────────────────────────────────────────────────────────────────────────────────


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
    assert suuaba(tmp_path) == 1  # no journal there
    assert suuaba(tmp_path, "--key", "xyz") == 2
    assert suuaba(tmp_path, "--heads", tmp_path / "none") == 2
    (tmp_path / "journal.db").write_bytes(b"rubbish " * 100)
    assert suuaba(tmp_path) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
