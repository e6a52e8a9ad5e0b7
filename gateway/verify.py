"""`suuaba verify`: checks the evidence chain of a journal or an evidence pack, and names what is wrong first.

Every block's text is made from what stands there and hashed onto the next (gateway.journal_chain). As long as
the links hold, the last signature proves them all, and so only that is checked; where a link does not hold,
or the last signature, the signatures around it say which block is the wrong one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import ConfigError
from gateway.journal_blocks import Anchor, Reader
from gateway.journal_chain import (
    NOTHING,
    anchor_text,
    fingerprint,
    link,
    right,
    text,
)
from gateway.journal_store import Block, Memory, Unreadable
from gateway.journal_tail import Tail
from gateway.verify_trusted import Trusted as Trusted
from gateway.verify_trusted import trusted as trusted
from gateway.verify_trusted import unhex

SHOWN = 10
"""Findings that are said; the first is what matters."""
PLAIN = "a plain table carries no proof: suuaba export --evidence makes one that does"


@dataclass
class Verdict:
    """What came out for one journal or pack."""

    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blocks: int = 0
    unchained: int = 0
    records: int = 0
    body_bytes: int = 0
    first: Block | None = None
    last: Block | None = None
    keys: dict[bytes, int] = field(default_factory=dict)
    """Public keys, and the first block that each signed."""


class Chain:
    """Takes the blocks of a chain in order; `verdict` grows. `end` when there are no more."""

    def __init__(self, trusted: Trusted, anchor: Anchor | None, *, part: bool = False) -> None:
        """`part`: only a stretch of a chain is looked at; it may begin anywhere."""
        self.verdict = Verdict()
        self._trusted, self._anchor, self._part = trusted, anchor, part
        self._link = b""  # of the last block, which is wanted as the next one's `previous`
        self._proven = True  # the last block is that of its signature, as far as is known
        self._unread: list[int] = []
        self._wanted: dict[int, frozenset[str]] = dict(trusted.heads)

    def unreadable(self, first_seq: int, why: str) -> None:
        """Instead of a block there is something that cannot be read."""
        where = "behind the last readable block" if first_seq < 0 else f"the block from seq {first_seq}"
        self._wrong(f"{where} cannot be read: {why}")
        self._unread.append(first_seq)

    def take(self, block: Block, *, sound: bool = True) -> None:
        """See the next block. `sound`: its own checksum is right."""
        found = self.verdict
        if block.number is None:
            found.unchained += 1
            if found.first is not None:
                self._wrong(f"{_at(block)}: has no place in the chain: it was inserted or changed")
            elif not sound:
                self._wrong(f"{_at(block)}: from before the chain, and its checksum is wrong")
            return
        said = len(found.wrong)
        if found.last is None:
            self._begins(block)
        else:
            self._follows(block, found.last)
        self._key(block)
        signed = text(block)
        self._link = link(signed, block.signature)
        if len(found.wrong) > said and not _signed(block):
            self._proven = False
        if (heads := self._wanted.pop(block.number, None)) and self._link.hex() not in heads:
            self._wrong(f"{_at(block)}: is another than the one whose hash was published (chain_head)")
        if not sound and len(found.wrong) == said:
            self._wrong(f"{_at(block)}: its checksum is wrong, or the block was changed")
        found.first = found.first or block
        found.last = block
        found.blocks += 1
        found.records += block.records
        found.body_bytes += len(block.body)

    def end(self, again: Callable[[], Iterable[Block]]) -> None:
        """There are no more. `again` gives the blocks once more, to look for the wrong one."""
        found, last = self.verdict, self.verdict.last
        if last is None:
            if not found.wrong:
                found.notes.append("there is no block yet: nothing is proven")
        elif not last.public:
            if not any("not signed" in line for line in found.wrong):
                self._wrong("no block is signed: whoever can write the file can make it anew")
        elif not _signed(last) and self._proven:
            bad = next((b for b in again() if b.number is not None and not _signed(b)), last)
            self._wrong(f"{_at(bad)}: is not what the station signed: it was changed or signed anew")
        if last is not None and last.number is not None:
            beyond = sorted(number for number in self._wanted if number > last.number)
            if beyond and not self._part:
                self._wrong(
                    f"the end is missing: block {beyond[-1]} was published (chain_head), "
                    f"and the last one here is block {last.number}, seq {last.last_seq}"
                )
        if any(name not in (b"",) for name in found.keys) and self._trusted.keys == ():
            found.notes.append(
                "no --key was named: whoever made this may have signed all of it with a key of their own"
            )

    def _begins(self, block: Block) -> None:
        if self._part or (block.number == 1 and block.previous == NOTHING):
            if self.verdict.unchained:
                old = f"{self.verdict.unchained} blocks up to seq {block.after_seq}"
                self.verdict.notes.append(f"{old} are from before the chain: unproven")
            return
        if self.verdict.unchained:
            self._wrong(f"{_at(block)}: blocks stand before it that are not of the chain: they were inserted")
        before, number = block.previous or b"", (block.number or 1) - 1
        anchor = self._anchor
        if anchor is None or (anchor.block, anchor.previous) != (number, before.hex()):
            self._wrong(
                f"{_at(block)}: what was before it is missing (blocks up to {number}), "
                "and no signed word of the station says that retention took it"
            )
            return
        public, signature = unhex(anchor.public), unhex(anchor.signature)
        if public and not (
            self._trusted.key(public) and right(public, signature, anchor_text(number, before, anchor.why))
        ):
            self._wrong(f"{_at(block)}: where the chain begins is not signed by the station")
        elif public != block.public and not self._trusted.keys:
            self._wrong(f"{_at(block)}: where the chain begins is signed by another key than the blocks")
        else:
            self.verdict.notes.append(f"blocks up to {number} were removed by the station: {anchor.why}")

    def _follows(self, block: Block, last: Block) -> None:
        number, wanted = block.number or 0, (last.number or 0) + 1
        unread, self._unread = self._unread, []
        if number != wanted and not (unread and number > wanted):
            if number > wanted:
                which = f"block {wanted}" if number == wanted + 1 else f"blocks {wanted} to {number - 1}"
                self._wrong(
                    f"{which}, seq {last.last_seq + 1} to {block.after_seq}, between "
                    f"{_utc(last.to_ms)} and {_utc(block.from_ms)}: missing, removed"
                )
            else:
                self._wrong(f"{_at(block)}: block {number} stands behind block {last.number}: inserted")
            if not _signed(block):
                self._wrong(f"{_at(block)}: is not what was signed: it was changed")
        elif number == wanted and block.previous != self._link:
            if not _signed(last):
                self._wrong(f"{_at(last)}: is not what was signed: it was changed")
            elif not _signed(block):
                self._wrong(f"{_at(block)}: is not what was signed: it was changed")
            else:
                whose = f" with the key {fingerprint(last.public)}" if last.public else ""
                named = f"is another than the one that block {number} names"
                self._wrong(f"{_at(last)}: {named}: replaced, signed anew{whose}")

    def _key(self, block: Block) -> None:
        found = self.verdict
        if block.public in found.keys:
            return
        found.keys[block.public] = block.number or 0
        if not block.public:
            if len(found.keys) > 1 or self._trusted.keys:
                self._wrong(f"{_at(block)}: is not signed")
        elif not self._trusted.key(block.public):
            self._wrong(
                f"{_at(block)}: signed with the key {fingerprint(block.public)}, which is none that you named"
            )
        elif len(found.keys) > 1 and not self._trusted.keys:
            self._wrong(
                f"{_at(block)}: from here on signed with another key, {fingerprint(block.public)}; "
                "if the station got a new one, name both with --key"
            )
        last = found.last
        if last is not None and last.public and not _signed(last):
            self._wrong(f"{_at(last)}: is not what was signed: it was changed")

    def _wrong(self, line: str) -> None:
        if line not in self.verdict.wrong:
            self.verdict.wrong.append(line)


def journal(path: Path, trusted: Trusted) -> Verdict:
    """Check a journal, a copy or that of the running service. Blocks on the disk. Raises JournalError."""
    with Reader(path) as reader:
        chain = Chain(trusted, reader.anchor())
        for first_seq, last_seq in reader.misnumbered():
            chain.verdict.wrong.append(
                f"a block, seq {first_seq} to {last_seq}: was inserted: numbers begin at 1"
            )
        at = 0
        for _ in range(5):  # the service may add a block meanwhile
            for first_seq, block, sound in reader.rows(at):
                if isinstance(block, Unreadable):
                    chain.unreadable(first_seq, str(block))
                else:
                    chain.take(block, sound=sound)
                at = max(at, first_seq)
                if first_seq < 0:
                    break
            tail, memory = reader.tail(), reader.memory()
            last = chain.verdict.last
            if memory is None or last is None or memory.block <= (last.number or 0):
                break
        chain.end(reader.blocks)
        found = chain.verdict
        if memory is None:
            if found.blocks or found.unchained:
                found.wrong.append("what the journal remembers of its end cannot be read")
        elif memory.block != (found.last.number if found.last else 0):
            number = found.last.number if found.last else 0
            found.wrong.append(
                f"the end is missing: the journal had {memory.block} blocks up to seq {memory.last_seq}, "
                f"and the last one here is block {number}"
            )
        elif found.last is not None and memory.link != chain._link.hex() and not found.wrong:
            found.wrong.append(f"{_at(found.last)}: is not the one the journal remembers as its last")
        if memory is not None:
            if tail.generation <= memory.generation and not memory.closed:
                time.sleep(0.2)  # between two generations: the service writes the next at once
                tail, memory = reader.tail(), reader.memory() or memory
            _tail(found, tail, memory, there=(reader.folder / "tail").exists())
    return found


def _tail(found: Verdict, tail: Tail, memory: Memory, *, there: bool) -> None:
    seqs = [int(number[1]) for line in tail.lines if (number := re.match(rb"\[(\d+),", line))]
    if seqs:
        found.notes.append(
            f"{len(seqs)} records, seq {seqs[0]} to {seqs[-1]}, are in no block yet: whole, but not proven"
        )
    settled, behind = memory.generation, seqs[-1] if seqs else memory.last_seq
    if not there:
        if not memory.closed:
            found.notes.append(f"there is no tail: the newest records, behind seq {behind}, are not here")
    elif tail.generation > settled + 1:
        which = f"generation {tail.generation}, wanted {settled + 1}"
        found.wrong.append(f"tail: belongs to a later journal ({which}): blocks are missing")
    elif (tail.broken and tail.generation > settled) or (tail.generation <= settled and not memory.closed):
        found.wrong.append(f"tail: torn or changed behind seq {behind}: what followed cannot be read")


# ── what is said ────────────────────────────────────────────────────────────────────────────────


def verify(paths: Sequence[Path], trusted: Trusted, say: Callable[[str], None]) -> bool:
    """Check each path and say what came out. True: nothing is wrong. Raises JournalError, ConfigError."""
    good = True
    for path in paths:
        if path.suffix == ".zip":
            from gateway.evidence_check import pack

            found = pack(path, trusted)
        elif path.is_dir() and not (path / "journal.db").is_file():
            raise ConfigError([f"{path}: there is no journal in this folder (journal.db)"])
        elif path.is_dir() or path.suffix == ".db":
            found = journal(path, trusted)
        else:
            raise ConfigError(
                [f"{path}: neither a journal (a folder, journal.db) nor an evidence pack (.zip); {PLAIN}"]
            )
        for line in render(path, found):
            say(line)
        good &= not found.wrong
    return good


def render(path: Path, found: Verdict) -> list[str]:
    """What came out, for people: the first wrong thing first."""
    lines = []
    if found.wrong:
        lines.append(f"{path}: WRONG: {found.wrong[0]}")
        lines += [f"  also: {line}" for line in found.wrong[1:SHOWN]]
        if len(found.wrong) > SHOWN:
            lines.append(f"  and {len(found.wrong) - SHOWN} more")
    elif found.first is not None and found.last is not None:
        lines.append(
            f"{path}: whole: {found.blocks} blocks, {found.records} records, seq {found.first.first_seq} to "
            f"{found.last.last_seq}, {_utc(found.first.from_ms)} to {_utc(found.last.to_ms)}"
        )
    else:
        lines.append(f"{path}: nothing is proven")
    lines += [f"  key {fingerprint(public)} from block {n} on" for public, n in found.keys.items() if public]
    lines += [f"  {note}" for note in found.notes]
    return lines


def _at(block: Block) -> str:
    name = f"block {block.number}" if block.number is not None else "a block"
    return f"{name}, seq {block.first_seq} to {block.last_seq}, {_utc(block.from_ms)} to {_utc(block.to_ms)}"


def _signed(block: Block) -> bool:
    return right(block.public, block.signature, text(block))


def _utc(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"
