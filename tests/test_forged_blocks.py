"""Whoever changes a block of a journal copy or an evidence pack is found, and the block is named, also where
the tables fit to it. Bits are flipped in every part of a block, and all over a pack.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import cli, config, evidence_check, evidence_pack
from gateway.evidence_pack import Entry, Packed, tabled
from gateway.export import site
from gateway.export_source import Span, corrections
from gateway.journal_chain import link, text
from gateway.journal_store import Block
from gateway.verify import Trusted, journal
from tests.chains import blocks, changed_body, copied, made, resigned, write
from tests.exports import keep, ph

OTHER = b"o" * 32
ANYONE = Trusted()


# ── a journal copy ──────────────────────────────────────────────────────────────────────────────────


def test_one_bit_of_a_block_of_a_journal_copy(tmp_path: Path) -> None:
    """In its records and in each field beside them; the row's checksum is made to fit."""
    made(tmp_path / "honest", 4, 6)
    copy = copied(tmp_path / "honest", tmp_path / "copy")
    third = blocks(copy)[2]
    assert third.number == 3
    forged = [replace(third, body=_flipped(third.body, at)) for at in range(0, len(third.body), 2)]
    for field in ("previous", "public", "signature"):
        whole = getattr(third, field)
        for at in range(0, len(whole), 4):
            beside: dict[str, Any] = {field: _flipped(whole, at)}
            forged.append(replace(third, **beside))
    forged += [replace(third, from_ms=third.from_ms ^ 1), replace(third, to_ms=third.to_ms ^ 1)]
    forged += [replace(third, records=third.records ^ 1)]
    assert len(forged) > 100
    for block in forged:
        write(copy, block)
        wrong = journal(copy, ANYONE).wrong
        assert wrong[0].startswith("block 3, seq 8 to 13,"), wrong
    write(copy, third)
    assert journal(copy, ANYONE).wrong == []


@pytest.mark.parametrize("first_seq", [0, -5])
def test_a_row_before_the_first_number(tmp_path: Path, first_seq: int) -> None:
    made(tmp_path, 3, 6)
    write(tmp_path, replace(blocks(tmp_path)[0], first_seq=first_seq, last_seq=first_seq), instead_of=-99)
    assert journal(tmp_path, ANYONE).wrong == [
        f"a block, seq {first_seq} to {first_seq}: was inserted: numbers begin at 1"
    ]


# ── an evidence pack ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five blocks of six readings, behind block 1 with the event about the key."""
    folder = tmp_path_factory.mktemp("pack")
    keep(folder, [[ph(60 * n + i, 7 + n / 10 + i / 100) for i in range(6)] for n in range(5)])
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert cli.main(["export", "station.toml", "--evidence", "--output", "pack.zip"]) == 0
    finally:
        os.chdir(before)
    assert evidence_check.pack(folder / "pack.zip", ANYONE).wrong == []
    return folder / "pack.zip"


def changed(found: list[Block]) -> list[Block]:
    """A value, in the middle."""
    return [*found[:2], changed_body(found[2], b"7.13", b"6.13"), *found[3:]]


def removed(found: list[Block]) -> list[Block]:
    return [*found[:2], *found[3:]]


def inserted(found: list[Block]) -> list[Block]:
    """One more, with numbers of its own that nobody has used."""
    more = changed_body(found[2], b"7.13", b"6.13")
    last = found[-1]
    return [*found, replace(more, first_seq=last.last_seq + 1, last_seq=last.last_seq + 6)]


def inserted_between(found: list[Block]) -> list[Block]:
    return [*found[:3], found[2], *found[3:]]


def signed_anew(found: list[Block]) -> list[Block]:
    """One block, with another key."""
    return [*found[:2], resigned(changed(found)[2], OTHER), *found[3:]]


def signed_anew_as_if(found: list[Block]) -> list[Block]:
    """The same, with the station's public key beside it."""
    return [*found[:2], replace(signed_anew(found)[2], public=found[2].public), *found[3:]]


def all_that_follow_signed_anew(found: list[Block]) -> list[Block]:
    forged, previous = list(found[:2]), found[2].previous
    for block in changed(found)[2:]:
        forged.append(resigned(block, OTHER, previous))
        previous = link(text(forged[-1]), forged[-1].signature)
    return forged


FORGERIES: dict[Callable[[list[Block]], list[Block]], str] = {
    changed: "block 3, seq 8 to 13,",
    removed: "block 3, seq 8 to 13,",
    inserted: "block 3, seq 32 to 37,",
    inserted_between: "block 3, seq 8 to 13,",
    signed_anew: "block 3, seq 8 to 13,",
    signed_anew_as_if: "block 3, seq 8 to 13,",
    all_that_follow_signed_anew: "block 3, seq 8 to 13,",
}


@pytest.mark.parametrize(("forge", "said"), FORGERIES.items(), ids=[f.__name__ for f in FORGERIES])
def test_a_pack_with_a_forged_block_and_tables_that_fit(
    pack: Path, tmp_path: Path, forge: Callable[[list[Block]], list[Block]], said: str
) -> None:
    forged = repacked(pack, tmp_path / "forged.zip", forge)
    wrong = evidence_check.pack(forged, ANYONE).wrong
    assert wrong
    assert wrong[0].startswith(said), wrong


def test_repacking_alone_changes_nothing(pack: Path, tmp_path: Path) -> None:
    """What the forger does besides is no reason to be found."""
    honest = repacked(pack, tmp_path / "honest.zip", lambda found: found)
    assert evidence_check.pack(honest, ANYONE).wrong == []


@pytest.mark.parametrize(("at", "line"), [(1, 2), (15, 16), (30, 31)])
def test_a_row_put_into_a_table(pack: Path, tmp_path: Path, at: int, line: int) -> None:
    with zipfile.ZipFile(pack) as old:
        rows = old.read("data/readings.csv").splitlines(keepends=True)
    rows.insert(at, rows[20].replace(b",7.", b",6."))
    forged = edited(pack, tmp_path / "forged.zip", {"data/readings.csv": b"".join(rows)})
    wrong = evidence_check.pack(forged, ANYONE).wrong
    assert wrong == [f"data/readings.csv: line {line} is not what the signed blocks say"]


def test_one_bit_of_a_pack(pack: Path, tmp_path: Path) -> None:
    """Anywhere in the file: it is found, or nothing that the pack says is another."""
    whole, wanted, found = pack.read_bytes(), contents(pack), 0
    forged = tmp_path / "forged.zip"
    for at in range(0, len(whole), 29):
        forged.write_bytes(_flipped(whole, at))
        wrong = evidence_check.pack(forged, ANYONE).wrong
        found += bool(wrong)
        assert wrong or contents(forged) == wanted, at
    assert found > len(whole) // 29 // 2


# ── the forger's tools ──────────────────────────────────────────────────────────────────────────────


def contents(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def edited(pack: Path, to: Path, instead: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in contents(pack).items():
            new.writestr(name, instead.get(name, data))
    return to


def repacked(pack: Path, to: Path, forge: Callable[[list[Block]], list[Block]]) -> Path:
    """The pack with other blocks, and everything in it as suuaba would have made it of them."""
    with zipfile.ZipFile(pack) as opened:
        listed = opened.read("chain/blocks.jsonl").splitlines(keepends=True)
        packed = Packed(list(evidence_pack.entries(iter(listed))), lambda: opened.open("chain/blocks.bin"))
        found = forge(list(packed.blocks()))
    lines, listed_anew, bodies = [], list[Entry](), b""
    for block in found:
        lines.append(evidence_pack._line(block, len(bodies)))
        listed_anew.append(Entry(replace(block, body=b""), len(bodies), len(block.body)))
        bodies += block.body
    binary = to.with_suffix(".bin")
    binary.write_bytes(bodies)
    source = Packed(listed_anew, lambda: binary.open("rb"))
    station, span = config.load(pack.with_name("station.toml")), Span(0, 1 << 60)
    instead = {"chain/blocks.jsonl": "".join(lines).encode(), "chain/blocks.bin": bodies}
    for table in evidence_pack.TABLES:
        rows = tabled(source, span, table, site(station), corrections(source))
        instead[f"data/{table}.csv"] = "".join(text for text, _ in rows).encode()
    return edited(pack, to, instead)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]
