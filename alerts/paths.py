"""Several ways by which messages leave the station, in order: the modem, a provider, another provider.

    paths = Paths([("modem", modem), ("nikita-smspro", provider)])
    sent = await paths.send("+996555000001", "pH 4.1 < 6.5", reference=7, message_id="…")
    sent.path == "modem"

    taken                        done; `sent.path` says by which
    SmsRefused, SmsFix           the next path at once: this one will not send it
    SmsRetry                     urgent: the next path at once; otherwise after `patience` failures in a row
    SmsUnknown                   it may have gone: no other path sends it now. The owner's one repetition,
                                 which its text marks, begins with the next path. With `mark` it is made here
                                 at once

A message of several parts that was broken off goes on (`first`) by the path that took the first ones
(`before`), for a telephone puts together only what has one sender. Where that path does not go on, the end
is unknown: the repetition is whole, by another. `before` also tells, after a restart, who may have sent it.

`begins` is told each path before it is given the message, and waited for: so what is durable tells, after a
kill in the middle, who may have sent it.

A path that failed rests, from a minute up to a quarter of an hour, and those that work go before it; when all
rest, all are tried. Pure ordering: no clock of its own, no disk, nothing sent twice without a mark.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from alerts.cms import SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown

REST_S = 60.0
REST_CEILING_S = 900.0
PATIENCE = 2
UNKNOWN_KEPT = 200
"""Messages whose end is not known, remembered with the path that they took, up to this number."""


class Sends(Protocol):
    """What every path can do. Raises SmsRetry, SmsFix, SmsRefused, SmsUnknown.

    A path whose `send` also has a parameter `message_id` is told which message it is; likewise `first` (the
    part to begin with) and `validity_h`.
    """

    async def send(self, to: str, text: str, *, reference: int) -> Any: ...


class SmsUnknownTwice(SmsUnknown):
    """It may have been sent, and so may its repetition: it should not be sent a third time."""


@dataclass(frozen=True, slots=True)
class SentBy:
    """A message that was taken: by which path, and that path's references of its parts."""

    path: str
    references: tuple[int | str, ...]
    tried: tuple[str, ...] = ()
    """What the paths before it said, one line each."""


@dataclass(slots=True)
class _Path:
    name: str
    sends: Any
    understands: frozenset[str]
    failures: int = 0
    rests_until_s: float = 0.0


Begins = Callable[[str], Awaitable[None]]
_MORE = ("message_id", "first", "validity_h")
_Said = list[tuple[_Path, SmsError]]


class Paths:
    """See the module. `now_s` is any clock that only goes forward; the loop's when left out."""

    def __init__(
        self,
        paths: Sequence[tuple[str, Sends]],
        *,
        patience: int = PATIENCE,
        mark: Callable[[str], str] | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        if not paths:
            raise ValueError("no path")
        self._paths = [
            _Path(name, path, frozenset(inspect.signature(path.send).parameters) & frozenset(_MORE))
            for name, path in paths
        ]
        self._patience, self._mark, self._now_s = patience, mark, now_s
        self._unknown: dict[str, set[str]] = {}  # message → paths that may have sent it

    async def send(
        self, to: str, text: str, *, reference: int, message_id: str = "", urgent: bool = True,
        first: int = 1, before: str = "", validity_h: float = 24.0, begins: Begins | None = None,
    ) -> SentBy:  # fmt: skip
        """Hand one message over by the first path that takes it.

        Raises SmsUnknown where an attempt may have gone (SmsUnknownTwice, where its repetition may have gone
        as well); else SmsRetry, where waiting helps; else SmsFix; else SmsRefused. The error's `path` is the
        one that may have sent it, or that took the first parts.
        """
        if first > 1:
            if begins is not None:
                await begins(before)
            return await self._go_on(to, text, reference, before, urgent, first, validity_h)
        if before and message_id not in self._unknown:  # as it was when we were last here, before a restart
            self._unknown[message_id] = {before}
        said: _Said = []
        unknown = False
        repetition = message_id in self._unknown  # the owner's; its text is marked already
        for path in self._in_order(message_id):
            if begins is not None:
                await begins(path.name)
            try:
                more = {"message_id": message_id, "validity_h": validity_h}
                sent = await self._by(path, to, text, reference, more)
            except SmsError as e:
                said.append((path, e))
                self._failed(path, e, urgent)
                if e.taken and "first" in path.understands and isinstance(e, SmsRetry) and not unknown:
                    raise self._error(SmsRetry, said) from None
                if isinstance(e, SmsUnknown) or e.taken:
                    self._remember(message_id, path)
                    if self._mark is None or repetition or unknown:
                        raise self._error(
                            SmsUnknownTwice if repetition or unknown else SmsUnknown, said
                        ) from None
                    text, unknown = self._mark(text), True
                elif (
                    isinstance(e, SmsRetry) and not urgent and path.failures <= self._patience and not unknown
                ):
                    raise self._error(SmsRetry, said) from None
                continue
            path.failures, path.rests_until_s = 0, 0.0
            self._unknown.pop(message_id, None)
            return SentBy(path.name, tuple(sent.references), tuple(f"{p.name}: {e}" for p, e in said))
        kinds = (SmsRetry, SmsFix, SmsRefused)
        kind = next((k for k in kinds if any(isinstance(e, k) for _, e in said)), SmsRefused)
        raise self._error(SmsUnknown if unknown else kind, said)

    def resting(self) -> list[str]:
        """The paths that failed lately and are tried last."""
        return [path.name for path in self._paths if path.rests_until_s > self._now()]

    async def listen(self, within_s: float) -> bool:
        """Let the paths that can hear of messages after their time do so. True when one heard something."""
        heard = [await path.sends.listen(within_s) for path in self._paths if hasattr(path.sends, "listen")]
        return any(heard)

    def take_late(self) -> list[Any]:
        """What they heard of; each once."""
        hearing = [path.sends for path in self._paths if hasattr(path.sends, "take_late")]
        return [late for sends in hearing for late in sends.take_late()]

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────

    async def _go_on(
        self, to: str, text: str, reference: int, before: str, urgent: bool, first: int, validity_h: float
    ) -> SentBy:
        """The rest of a message, by the path that took its first parts."""
        path = next((path for path in self._paths if path.name == before), None)
        if path is None or "first" not in path.understands:
            raise SmsUnknown("its first part was sent, and the path that took it is gone")
        try:
            sent = await self._by(path, to, text, reference, {"first": first, "validity_h": validity_h})
        except SmsError as e:
            self._failed(path, e, urgent)
            others = len(self._paths) > 1
            waits = isinstance(e, SmsRetry) and (
                e.taken or not others or (not urgent and path.failures <= self._patience)
            )
            known = isinstance(e, SmsRetry | SmsFix) and not others
            error = self._error(type(e) if waits or known else SmsUnknown, [(path, e)])
            error.path = path.name
            raise error from None
        path.failures, path.rests_until_s = 0, 0.0
        return SentBy(path.name, tuple(sent.references))

    async def _by(self, path: _Path, to: str, text: str, reference: int, more: dict[str, Any]) -> Any:
        more = {name: value for name, value in more.items() if name in path.understands}
        return await path.sends.send(to, text, reference=reference, **more)

    def _in_order(self, message_id: str) -> list[_Path]:
        """Those that work, then those that rest; last the ones that may have sent this message."""
        now_s, before = self._now(), self._unknown.get(message_id, set())
        return sorted(self._paths, key=lambda path: (path.name in before, path.rests_until_s > now_s))

    def _failed(self, path: _Path, error: SmsError, urgent: bool) -> None:
        if isinstance(error, SmsRefused):
            return  # this message only: the path itself works
        path.failures += 1
        waits = isinstance(error, SmsRetry) and not urgent and path.failures <= self._patience
        if not waits:
            rest_s = REST_S * 2 ** min(path.failures - 1, 10)
            path.rests_until_s = self._now() + min(rest_s, REST_CEILING_S)

    def _remember(self, message_id: str, path: _Path) -> None:
        if message_id:
            self._unknown.setdefault(message_id, set()).add(path.name)
        if len(self._unknown) > UNKNOWN_KEPT:
            del self._unknown[next(iter(self._unknown))]

    def _error(self, kind: type[SmsError], said: _Said) -> SmsError:
        """One error for what all paths said, each with its name."""
        error = kind("; ".join(f"{path.name}: {e}" for path, e in said))
        error.taken = next((e.taken for _, e in said if e.taken), ())
        error.path = next((p.name for p, e in said if e.taken or isinstance(e, SmsUnknown)), "")
        limits = [e.tries for _, e in said if isinstance(e, SmsRetry)]
        known = [limit for limit in limits if limit is not None]
        if isinstance(error, SmsRetry) and len(known) == len(limits):
            error.tries = max(known, default=None)
        return error

    def _now(self) -> float:
        return self._now_s() if self._now_s else asyncio.get_running_loop().time()
