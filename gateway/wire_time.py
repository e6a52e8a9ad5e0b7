"""How long a reading occupies a serial wire, worked out from the model's requests and the line's settings.

    t3.5 │ 01 03 26 00 00 05 8E 81 │ t3.5 │ 01 03 0A … 13 bytes of registers and frame │
    4 ms │        8.3 ms           │ 4 ms │               15.6 ms                      │   9600 8N1

What the instrument takes to think is not in it: manuals seldom say, and it differs from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.catalogue import Model
from drivers.link import Line


@dataclass(frozen=True, slots=True)
class Cycle:
    """One reading of one instrument: its requests, how long the wire is busy, and what the profile waits
    beside it.
    """

    requests: int
    wire_s: float
    waits_s: float = 0.0


def cycle(model: Model, line: Line, framing: str = "rtu") -> Cycle | None:
    """What a reading of this model costs on this line; None for an instrument whose driver is code (it is
    alone).
    """
    if model.kind != "profile":
        return None
    from drivers import profile
    from drivers.profile_plan import plans

    facts = profile.load(model.file)
    lengths = [(5, 2 + 2 * int.from_bytes(request.pdu[3:5], "big")) for request in plans(facts)[0][0]]
    waits_s = 0.0
    for step in facts.before:
        waits_s += step.wait_s or 0.0
        if step.wait_register is not None:  # at least: how long it will be is only known when it says so
            waits_s += step.wait_register.plus_s
        if step.write is not None:
            lengths.append((5, 5) if step.write.function == 6 else (8, 5))
        elif step.write_zero is not None:
            lengths.append((6, 5))
        elif step.read_zero is not None:
            lengths.append((5, 2))
        elif step.read_one is not None or step.wait_register is not None:
            lengths.append((5, 4))
    wire_s = sum(
        (characters(asked, framing) + characters(answered, framing)) * line.char_s
        + max(line.silence_s, facts.timing.gap_s)
        + line.silence_s
        for asked, answered in lengths
    )
    return Cycle(len(lengths), wire_s, waits_s)


def characters(pdu_bytes: int, framing: str = "rtu") -> int:
    """Characters that a PDU takes in a frame: address and CRC around it, or `:`, hex, LRC, CR and LF."""
    return 2 * (pdu_bytes + 2) + 3 if framing == "ascii" else pdu_bytes + 3
