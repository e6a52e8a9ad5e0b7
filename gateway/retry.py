"""`suuaba retry`: records that a sink refused are offered to it once more, after the cause is mended.

While the service runs it does the work and is asked by its control socket; else the journal is opened here
and followed until they are through. Round after round, for a sink takes only some at a time; what it refuses
again is not offered again, but said.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import config
from gateway.control import Answer, ask
from gateway.errors import ConfigError, ControlError, JournalError, NotRunning
from gateway.refused import state
from gateway.station import Station
from gateway.supervise import supervise

STILL_S = 30.0
"""So long without any progress, and it is left to the station."""
LOOK_S = 0.2

Call = Callable[..., Awaitable[Answer]]
Say = Callable[[str], object]


async def retry(file: Path, sink: str, say: Say) -> int:
    """Offer what this sink refused (every sink's with ""), and say what became of it. Gives the exit code: 1
    when something was refused again or is still on its way. Raises ConfigError, JournalError.
    """
    wanted = config.load(file, lenient=True)

    async def running(**body: Any) -> Answer:
        return await ask(wanted.data, "retry", **body)

    try:
        try:
            first = await running(sink=sink)
        except NotRunning:
            async with _followed(wanted, sink) as here:
                return await _rounds(here, await here(sink=sink), sink, say)
        return await _rounds(running, first, sink, say)
    except ControlError as e:
        raise ConfigError([f"{file.name}: {e}"]) from e


async def _rounds(call: Call, first: Answer, sink: str, say: Say) -> int:
    code = 0
    for name, said in first["sinks"].items():
        if sink not in ("", name):
            continue
        if not said["refused"]:
            say(f"{name}: no record is refused")
            continue
        if said["beyond"]:
            say(f"{name}: {said['beyond']} more were refused than are remembered")
        code = max(code, await _one(call, name, {int(seq) for seq in said["refused"]}, say))
    return code


async def _one(call: Call, name: str, seqs: set[int], say: Say) -> int:
    loop = asyncio.get_running_loop()
    left, moved_s, before = set(seqs), loop.time(), -1
    said: Any = {}
    while True:
        answer = await call(sink=name, only=sorted(left))
        said = answer["sinks"][name]
        left -= set(answer["taken"])
        if not left and not said["history"]:
            break
        if answer["taken"] or said["history"] != before:
            moved_s, before = loop.time(), said["history"]
        if loop.time() - moved_s > STILL_S or (said["down"] and loop.time() - moved_s > STILL_S / 6):
            why = said["down"] or "other records go first"
            say(f"{name}: {len(seqs) - len(left)} of {len(seqs)} wait to be sent again: {why}")
            return 1
        await asyncio.sleep(LOOK_S)
    again = {int(seq): reason for seq, reason in said["refused"].items() if int(seq) in seqs}
    say(f"{name}: {len(seqs) - len(again)} of {len(seqs)} records delivered")
    for seq, reason in sorted(again.items())[:3]:
        say(f"{name}: record {seq} is refused again: {reason}")
    if again:
        say(f"{name}: {len(again)} refused again; mend the cause, then: suuaba retry")
    return 1 if again else 0


@asynccontextmanager
async def _followed(wanted: config.Station, sink: str) -> AsyncIterator[Call]:
    """The station's journal and sinks at work, without buses and alarms, as long as this is entered."""
    if not (wanted.data / "journal.db").exists():
        raise JournalError(f"{wanted.data}: there is no journal yet")
    station = Station(wanted)
    await station.journal.open()
    tasks: list[asyncio.Task[None]] = []

    async def here(**body: Any) -> Answer:
        for task in tasks:
            if task.done():
                task.result()
        return state(station, body.get("sink", ""), body.get("only"))

    try:
        await station.connect()
        state(station, sink)  # a sink that is not there is said before anything runs
        parts = {"journal": station.journal.run}
        chosen = {name: f for name, f in station.followers.items() if sink in ("", name)}
        parts |= {f"sink.{name}": follower.run for name, follower in chosen.items()}
        tasks += [asyncio.create_task(supervise(part, run), name=part) for part, run in parts.items()]
        await asyncio.sleep(0)  # the followers take up their cursors
        yield here
    finally:
        for task in tasks[::-1]:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await station.close()
