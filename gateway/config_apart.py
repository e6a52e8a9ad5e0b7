"""station.toml read in a process of its own, which ends when it has.

Checking people's text takes pydantic, and pydantic takes 13 MB, most of which a process never gives back. A
station reads its file once and runs for months. So `suuaba run` has a child read it and takes over what it
found, with plain objects instead of pydantic's; that the child works while the parent imports the rest makes
the start quicker as well. Where there can be no child, the file is read here, and it costs the memory.

    parent ── fork ───► child: config.load(file, lenient) ──► Station, profiles │ ConfigError
       │ imports                                                  │ pickled, by a pipe
       └─────────── Reading.station() ◄───────────────────────────┘

Secrets go through that pipe, which nobody else holds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import select
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from gateway.config_station import Station
from gateway.errors import ConfigError

log = logging.getLogger(__name__)

WITHIN_S = 60.0
"""Longer than the slowest card takes; then the file is read here."""


class Hidden:
    """A secret that neither a log nor a traceback shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Hidden()"


class Reading:
    """A file being read by a child. Made before there is any other thread: only then may a process fork."""

    def __init__(self, file: Path) -> None:
        """Start the child. Does not block."""
        self._file = file
        self._child: tuple[int, int] | None = None
        """Its id, and where it is heard."""
        if threading.active_count() > 1:
            return
        try:
            hear, say = os.pipe()
        except OSError:
            return
        try:
            pid = os.fork()
        except OSError:  # no memory, no room for a process
            os.close(hear)
            os.close(say)
            return
        if pid == 0:
            code = 1
            try:
                with os.fdopen(say, "wb") as out:
                    _child(file, out)
                code = 0
            finally:
                os._exit(code)  # whatever went wrong goes wrong again where the file is read then
        os.close(say)
        self._child = pid, hear

    def station(self) -> Station:
        """What the file says, read as leniently as `run` does. Blocks until the child is done. Raises
        ConfigError.
        """
        child, self._child = self._child, None
        found = None if child is None else _found(*child)
        if found is None:
            log.info("no child process could read %s: reading it here", self._file)
            from gateway import config

            return config.load(self._file, lenient=True)
        if isinstance(found, list):
            raise ConfigError(found)
        return found


def _found(pid: int, hear: int) -> Station | list[str] | None:
    """The station, or the lines of a ConfigError; None when the child failed."""
    said = bytearray()
    until_s = time.monotonic() + WITHIN_S
    poll = select.poll()
    poll.register(hear, select.POLLIN)
    with os.fdopen(hear, "rb", buffering=0) as stream:
        while poll.poll(max(until_s - time.monotonic(), 0.0) * 1000):
            if not (part := stream.read(1 << 16)):
                break
            said += part
        else:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if status != 0:
        return None
    found: Station | list[str] = pickle.loads(said)  # nosec B301  # noqa: S301  our own child said it
    return found


class _Plain(pickle.Pickler):
    """Turns pydantic's objects into plain ones with the same attributes."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        from pydantic import BaseModel, SecretStr

        self._models, self._secrets = BaseModel, SecretStr

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, self._models):
            return SimpleNamespace, (), dict(item.__dict__)
        if isinstance(item, self._secrets):
            return Hidden, (item.get_secret_value(),)
        return NotImplemented


async def again(file: Path) -> Station:
    """Read the file anew for a station that runs, and strictly: in a new process, as one with threads must
    not fork. Raises ConfigError.
    """
    quiet = asyncio.subprocess.DEVNULL
    command = (sys.executable, "-m", "gateway.config_apart", str(file))
    try:
        child = await asyncio.create_subprocess_exec(
            *command, stdin=quiet, stdout=asyncio.subprocess.PIPE, stderr=quiet
        )
    except OSError as e:
        raise ConfigError([f"{file.name}: no process can be started to read it: {e.strerror}"]) from None
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise ConfigError([f"{file.name}: was not read within {WITHIN_S:g} s"]) from None
    if child.returncode != 0:
        raise ConfigError([f"{file.name}: the process that reads it failed; try suuaba check"])
    found: Station | list[str] = pickle.loads(said)  # nosec B301  # noqa: S301  our own child said it
    if isinstance(found, list):
        raise ConfigError(found)
    return found


def _child(file: Path, out: IO[bytes], *, lenient: bool = True) -> None:
    """Read the file and say what was found."""
    from dataclasses import replace

    from drivers import catalogue, profile
    from gateway import config

    found: Station | list[str]
    try:
        station = config.load(file, lenient=lenient)
    except ConfigError as e:
        found = e.lines
    else:
        models = {s.model: catalogue.find(s.model, station.profiles) for s in station.sensors}
        facts = {name: profile.load(m.file) for name, m in models.items() if m.kind == "profile"}
        found = replace(station, facts=facts)
    _Plain(out).dump(found)


if __name__ == "__main__":
    # What is pickled must name this module as its reader knows it, and not __main__.
    from gateway.config_apart import _child as child

    child(Path(sys.argv[1]), sys.stdout.buffer, lenient=False)
