"""Many series under the same limits, judged by ioos_qc in one go: the call takes its time, not the values.

Twenty series stand behind each other. Those with missing readings have more silence between them than any
test looks over; those without have a great zigzag there instead, because only where nothing is missing must
the flat line be ioos_qc's to the last flag.
"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import strategies as st

from tests.qc_series import DEAD, Series, Slots, equal, random_series

TOGETHER = 20
BETWEEN = 16
"""Slots: more than the longest window of `random_series`, and more than three missed readings."""


@st.composite
def random_heaps(draw: st.DrawFn) -> tuple[Series, list[Slots]]:
    """The limits of a random series, and slots for twenty under them."""
    limits = draw(random_series())
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    return limits, [_slots(rng) for _ in range(TOGETHER)]


def all_equal(limits: Series, heap: list[Slots]) -> int:
    """Every test of ours equals ioos_qc's on these; gives how many series that were."""
    assert BETWEEN > DEAD
    whole: list[float | None] = []
    holed: list[float | None] = []
    for slots in heap:
        if None in slots:
            holed += [*slots, *[None] * BETWEEN]
        else:
            whole += [*slots, *[100.0, -100.0] * (BETWEEN // 2)]
    for joined in (whole, holed):
        if joined:
            equal(replace(limits, slots=tuple(joined)))
    return len(heap)


def _slots(rng: random.Random) -> Slots:
    slots: list[float | None] = []
    for _ in range(rng.randint(1, 6)):
        at, many = rng.randint(-24, 24) / 8, rng.randint(1, 9)
        match rng.choice(("steady", "walk", "noise", "fine", "spike", "silence")):
            case "steady":
                slots += [at] * many
            case "walk":
                for _ in range(many):
                    at += rng.randint(-4, 4) / 8
                    slots.append(at)
            case "noise":
                slots += [at + rng.randint(-4, 4) / 8 for _ in range(many)]
            case "fine":
                slots += [at + rng.randint(-4, 4) / 1000 for _ in range(many)]
            case "spike":
                slots += [at + (rng.randint(-32, 32) / 8 if i == many // 2 else 0) for i in range(many)]
            case _:
                slots += [None] * many
    for _ in range(rng.choice((0, 0, 1, 4))):
        slots[rng.randrange(len(slots))] = None
    return slots
