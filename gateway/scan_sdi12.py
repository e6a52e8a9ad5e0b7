"""Looking for SDI-12 sensors on a port: at the wire's own settings with a break, then as adapters speak.

First anybody is asked. One alone gives its address; where several answer at once rubbish comes, and the
addresses are asked one by one: 0 to 9, and letters too in a thorough scan. Only `?!` and `aI!` are sent.
"""

from __future__ import annotations

from collections.abc import Callable

from drivers import sdi12
from drivers.link import Line
from gateway.scan_listen import Heard
from gateway.scan_probe import Question
from gateway.scan_wire import Wire

SETTINGS = (sdi12.WIRE, *sdi12.ADAPTERS)
TRIES = 2
SECONDS = TRIES * (sdi12.WITHIN_S + len(sdi12.ADAPTERS) * sdi12.ADAPTER_WITHIN_S)
"""How long a port takes on which nobody speaks SDI-12."""


async def find(
    wire: Wire, tell: Callable[[str, Line], object], *, quick: bool
) -> tuple[Line, list[dict[str, str]]] | None:
    """The settings and the sensors, by what they say of themselves; None where nobody answers. `tell` hears
    whom it asks. Raises PortLost.
    """
    for line in SETTINGS:
        await wire.set(line)
        tell("?", line)
        rubbish, alone = wire.evidence.rubbish, None
        for _ in range(TRIES):
            alone = alone or await _ask(wire, line, sdi12.ANYBODY, _somebody)
        if alone is None and wire.evidence.rubbish - rubbish < TRIES:
            continue
        found = []
        for address in alone["sdi12_address"] if alone else sdi12.ADDRESSES[: 10 if quick else None]:
            tell(address, line)
            said = await _ask(wire, line, sdi12.who(address), _naming(address))
            if said is not None:
                found.append(said)
        if found:
            return line, found
    return None


async def _ask(
    wire: Wire, line: Line, data: bytes, meant: Callable[[bytes], Heard | None]
) -> dict[str, str] | None:
    within_s = sdi12.ADAPTER_WITHIN_S
    if line == sdi12.WIRE:
        within_s = sdi12.WITHIN_S
        await wire.link.spacing(sdi12.BREAK_S, sdi12.MARK_S)
    heard = await wire.question(Question("SDI-12", data, line, within_s, meant))
    return heard.identity if isinstance(heard, Heard) else None


def _somebody(got: bytes) -> Heard | None:
    address = sdi12.address(got)
    return None if address is None else Heard("", {"sdi12_address": address}, {})


def _naming(address: str) -> Callable[[bytes], Heard | None]:
    def meant(got: bytes) -> Heard | None:
        said = sdi12.identity(got, address)
        return None if said is None else Heard("", said, {})

    return meant
