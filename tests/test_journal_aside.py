"""A journal whose SQLite file is gone or cannot be read: no number is used again, and the loss is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal import Journal
from gateway.model import Reading, Record
from tests.chains import made
from tests.journals import FixedClock, events, everything, play, reading

EACH, BLOCKS = 20, 3
LAST = 1 + EACH * BLOCKS  # the first says of the key


@pytest.mark.parametrize("boot", ["boot0001", "boot0002"])
@pytest.mark.parametrize("gone", [False, True], ids=["unreadable", "gone"])
@pytest.mark.parametrize("tail", [0, 5], ids=["a clean end", "a kill"])
def test_no_number_is_used_again(tmp_path: Path, tail: int, gone: bool, boot: str) -> None:
    clock = FixedClock()
    made(tmp_path, BLOCKS, EACH, tail=tail, clock=clock)
    (tmp_path / "journal.db").write_bytes(b"no database " * 1000)
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        if gone or name != "journal.db":
            (tmp_path / name).unlink(missing_ok=True)
    clock.boot = boot
    found: list[Record] = []

    async def job() -> None:
        journal = Journal(tmp_path, clock, make_key=True)
        await journal.open()
        journal.append([reading(clock, 9.0)])
        await journal.sync()
        found.extend(await everything(journal))
        await journal.close()

    play(job)
    kept = [record.seq for record in found if isinstance(record.body, Reading)]
    assert kept[:-1] == list(range(LAST + 1, LAST + 1 + tail)), "what the tail has is there"
    new = [record.seq for record in found if record.seq not in kept[:-1]]
    assert min(new) > LAST + tail, "a number is never used for two records"
    losses = events(found, "loss")
    lost = {seq for loss in losses for seq in range(loss["from_seq"], loss["to_seq"] + 1)}  # type: ignore[call-overload]  plain numbers
    assert set(range(1, LAST + 1)) <= lost
    assert not lost & {record.seq for record in found}
    assert {loss["at_most"] for loss in losses} == {True}
    assert len(events(found, "journal_unreadable")) == (not gone)
    assert len(events(found, "chain_begun")) == 1
