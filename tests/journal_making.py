"""A journal made at once, for tests and benches that need a past: real files, in blocks as a station has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway.clock import Clock
from gateway.journal import Journal
from gateway.model import Body

AT_ONCE = 500


def make_journal(folder: Path, bodies: Sequence[Body], at_once: int = AT_ONCE) -> None:
    """Write bodies, a block for every so many, and close it as a station does."""

    async def run() -> None:
        journal = Journal(folder, Clock("trust"))
        await journal.open()
        for part in _parts(bodies, at_once):
            journal.append(list(part))
            await journal._settle()
        await journal.close()

    asyncio.run(run())


def _parts(bodies: Sequence[Body], at_once: int) -> Iterable[Sequence[Body]]:
    for begin in range(0, len(bodies), at_once):
        yield bodies[begin : begin + at_once]
