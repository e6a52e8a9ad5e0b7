"""One-time codes, and what a contact's messages have cost: pure bookkeeping on the alarms' memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from alerts.memory import Grant, Memory, Now

CODE_S = 86_400.0
"""How long a one-time code is good; a reminder brings a new one when little of that is left."""
MOST_CODES = 500
LENGTHS = ((4, 0), (5, 9), (6, 90))
"""Digits of a new code, from so many codes on: a guess hits one of a thousand at best."""
LONG = 8
_DAY_MS = 86_400_000


def one_time_code(
    memory: Memory,
    alarms: tuple[tuple[str, int], ...],
    to: str,
    now: Now,
    random: Callable[[int], int],
) -> str:
    """The code for these occurrences, good from now on for the contact `to` as well: the one they have, or a
    new one. `random(n)` gives 0 to n-1.
    """
    for code, grant in memory.codes.items():
        if grant.alarms == alarms and grant.expires_ms - now.ms > CODE_S * 1000 / 4:
            if to not in grant.to:
                memory.codes[code] = replace(grant, to=(*grant.to, to))
            return code
    memory.codes = {code: grant for code, grant in memory.codes.items() if grant.expires_ms > now.ms}
    while len(memory.codes) >= MOST_CODES:
        del memory.codes[next(iter(memory.codes))]
    digits = max(length for length, least in LENGTHS if len(memory.codes) >= least)
    code = number_of(digits, random)
    while code in memory.codes:
        least = 10 ** (digits - 1)
        code = str(least + (int(code) - least + 1) % (9 * least))
    memory.codes[code] = Grant(alarms, now.ms + int(CODE_S * 1000), (to,))
    return code


def number_of(digits: int, random: Callable[[int], int]) -> str:
    """A random number of so many digits; one of `LONG` nobody guesses with thousands of messages."""
    least: int = 10 ** (digits - 1)
    return str(least + random(9 * least))


def by_day(
    spent: tuple[tuple[int, int], ...], segments: int, now: Now, within_s: float
) -> tuple[tuple[int, int], ...]:
    """(day of the rules' scale, segments) with so many more today, without what is too long ago."""
    day = now.ms // _DAY_MS
    first = day - int(within_s * 1000) // _DAY_MS
    days = dict(spent)
    if segments:
        days[day] = days.get(day, 0) + segments
    return tuple((d, n) for d, n in sorted(days.items()) if d > first)
