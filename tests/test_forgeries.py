"""The evidence chain: whatever is changed, taken or added is found and named."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gateway import journal_chain
from gateway.journal_blocks import Reader
from gateway.journal_chain import NOTHING, link, text
from gateway.verify import journal, trusted
from tests.chains import blocks, changed_body, copied, flip, made, resigned, run_sql, write
from tests.forging import ANYONE, OTHER, openssl, suuaba


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    made(folder, 6, tail=5)
    return folder


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
