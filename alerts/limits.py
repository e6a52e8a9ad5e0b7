"""What keeps messages few and cheap."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What keeps messages few and cheap. `budget` is in segments for each contact in `budget_s`; the last
    `reserve` of it is kept for critical alarms, and at `warn` the contact is told.

    `reply_share`: so much of it may go into replies, which anybody can provoke who forges a number.
    `answers`: somebody reads what is answered, so alarms have codes. `daily_min`: when the sign of life is
    sent, in minutes of the local day, to `daily_to`. `replies` to one contact in a day.
    """

    collect_s: float = 45.0
    flood_count: int = 10
    flood_s: float = 600.0
    digest_s: float = 60.0
    budget: int = 200
    budget_s: float = 30 * 86_400.0
    reserve: float = 0.2
    warn: float = 0.7
    answers: bool = True
    daily_min: int | None = None
    daily_to: tuple[str, ...] = ()
    replies: int = 20
    reply_share: float = 0.25
