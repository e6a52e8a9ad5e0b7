"""One port, from listening to a diagnosis: what `suuaba scan` does on each, all ports side by side.

listen        a stream names its instrument
factory       each model's factory settings: some ten seconds
sweep         where a Modbus unit answered: all addresses at those settings; where none did: the likely
              addresses at all settings, then all at the likeliest
name          each unit's identification, else whether its registers make sense
look closer   each unit is asked the same ten times: does it always answer?
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from drivers import catalogue
from drivers.base import PortLost
from drivers.link import Line
from gateway import scan_sdi12
from gateway.scan_diagnose import LEAST, Unit, diagnose
from gateway.scan_listen import Heard, another_master, recognise
from gateway.scan_name import AGAIN_S, name, note
from gateway.scan_probe import Kind, factory, hellos, lines, questions
from gateway.scan_result import Doing, Found, PortReport, Problem, Progress
from gateway.scan_wire import Came, Wire

LISTEN_S = 2.8
"""A Plantower in steady air speaks every 2.3 s."""
LISTEN_ELSE_S = 1.3
NEAR = (*range(1, 33), 40, 50, 60, 100, 247)
LIKELY = (*range(1, 11), 20, 40)
"""Addresses tried at every setting where nothing has answered yet."""
UNLIKELY = tuple(n for n in range(1, 248) if n not in LIKELY)
NEAR_S, FAR_S = 0.3, 0.15
AGAIN = 6
OVERHEAD_S = 0.01
"""What a question takes beside its wait, for the estimate of the time left."""

ANSWERED = {"unknown", "refuses", "late", "stranger"}
"""Problems of somebody who is there."""

Told = Callable[["PortScan"], object]


@dataclass(frozen=True, slots=True)
class Wish:
    """How far a scan goes. `quick`: only factory settings, and the likely addresses at 9600 8N1."""

    quick: bool = False
    kinds: Sequence[Kind] = ()


class PortScan:
    """The scan of one port. `report` fills while `run` goes on, and stands as it is when that is
    cancelled.
    """

    def __init__(self, port: str, wish: Wish, told: Told = lambda _: None) -> None:
        self.port = port
        self.report = PortReport(port=port)
        self.doing = Doing("waiting")
        self.done_s = 0.0
        self.wire = Wire(port)
        self.units: dict[int, Unit] = {}
        self._wish, self._told = wish, told
        self._kinds = wish.kinds
        self._hellos = hellos(self._kinds)
        self._at_s = 0.0
        self._at: tuple[Line, set[int]] | None = None
        """The settings at which Modbus units answered, and their addresses."""
        self._instead: dict[int, tuple[int, bytes]] = {}
        """By unit: who was asked, and what, when it spoke."""
        self._step_s, self._behind_s = LISTEN_S, self._factory_s() + self._everywhere_s()
        """What is left of this step, and the steps behind it, if nothing more answers."""

    @property
    def left_s(self) -> float:
        """An estimate, for a progress bar."""
        return max(self._step_s, 0.0) + self._behind_s

    @property
    def progress(self) -> Progress:
        return Progress(
            port=self.port, doing=self.doing, done_s=round(self.done_s, 1), left_s=round(self.left_s, 1),
            found=list(self.report.instruments), problems=list(self.report.problems),
        )  # fmt: skip

    async def run(self) -> PortReport:
        """Scan. Ends early, with what it has found, when it is cancelled or the port goes."""
        self._at_s = asyncio.get_running_loop().time()
        try:
            await self._run()
        except PortLost as e:
            code = "lost" if self.report.asked or self.wire.evidence.asked else "closed"
            self.report.problems.append(Problem(code=code, port=self.port, seen=str(e)))
            self.report.state = "closed"
        except asyncio.CancelledError:
            self._finish()
            if not self.report.instruments:
                self.report.state = "broken off"
            raise
        finally:
            self.wire.close()
        self._finish()
        self._step_s = self._behind_s = 0.0
        self._say("done")
        return self.report

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        await self.wire.set(Line(9600, "8N1"))
        if await self._listen(LISTEN_S):
            return
        await self._factory()
        if self.report.instruments or self.report.state == "modem":
            return
        if self._at is None and self.wire.link.is_serial and not self._is_noise() and await self._sdi12():
            return
        if self._at is None:
            await self._everywhere()
        if self._at is not None:
            line, found = self._at
            await self.wire.set(line)
            known = sorted(found)
            left = [n for n in range(1, 248) if n not in found]
            near, far = [n for n in left if n in NEAR], [n for n in left if n not in NEAR]
            if self._wish.quick:
                far = []
            self._step_s, self._behind_s = self._sweep_s(near, NEAR_S), self._sweep_s(far, FAR_S)
            for unit in known:  # first what is there already: the sweep takes a minute and a half
                await self._name(unit)
            await self._sweep(near, NEAR_S)
            self._behind_s = 0.0
            await self._sweep(far, FAR_S)
            for unit in sorted(found - set(known)):
                await self._name(unit)

    async def _listen(self, seconds: float) -> bool:
        """Whether somebody speaks by himself: an instrument, or another master."""
        line = self.wire.link.line
        self._say("listen", "", line)
        heard = await self.wire.listen(seconds, recognise)
        known = recognise(heard)
        if known is not None:
            self._found(known, line)
        elif another_master(heard):
            self.report.problems.append(Problem(code="master", port=self.port, seen=heard[:16].hex(" ")))
            self.report.state = "trouble"
        elif len(heard) > 2:  # a stream at other settings, or noise
            for other in lines(self._kinds):
                if other.baudrate == line.baudrate:
                    continue
                await self.wire.set(other)
                heard = await self.wire.listen(LISTEN_ELSE_S, recognise)
                known = recognise(heard)
                if known is not None:
                    self._found(known, other)
                    return True
            await self.wire.set(line)
            return False
        return known is not None or self.report.state == "trouble"

    async def _factory(self) -> None:
        """Ask each model at the settings it leaves the factory with."""
        self._step_s, self._behind_s = self._factory_s(), self._everywhere_s()
        for line in self._lines():
            asked, some = questions(line), factory(self._kinds, line)
            if not asked and not some:
                continue
            await self.wire.set(line)
            for question in asked:
                self._say("ask", question.name, line)
                self._step_s -= question.within_s
                known = await self.wire.question(question)
                if isinstance(known, Heard):
                    self._found(known, line)
                    return
            for unit, pdu, wait_s in some:
                self._say("address", str(unit), line)
                self._step_s -= wait_s
                if self._at is None or unit not in self._at[1]:
                    await self._knock(unit, pdu, wait_s)
            if self._at is not None:
                return

    async def _sdi12(self) -> bool:
        """Whether SDI-12 sensors answer."""
        self._step_s = scan_sdi12.SECONDS
        found = await scan_sdi12.find(
            self.wire, lambda address, line: self._say("sdi12", address, line), quick=self._wish.quick
        )
        if found is None:
            return False
        for said in found[1]:
            title = (
                f"SDI-12, {said['sdi12_address']}: {said.get('maker', '')} {said.get('model', '')}".strip()
            )
            self._add(
                Found(
                    port=self.port, baudrate=found[0].baudrate, format=found[0].format, framing="",
                    title=title, identity=said, after_s=self._since_s(),
                )
            )  # fmt: skip
            about = said["sdi12_address"]
            self.report.problems.append(Problem(code="sdi12", port=self.port, about=about, seen=title))
        return True

    def _lines(self) -> Iterable[Line]:
        return lines(self._kinds) if self.wire.link.is_serial else (Line(9600, "8N1"),)

    async def _knock(self, unit: int, pdu: bytes, wait_s: float) -> bool:
        """Whether somebody at this address answers a request, be it at the sixth time or by an exception."""
        came = await self._asked(unit, pdu, wait_s)
        if came.is_garbled and came.late is None and not self._is_noise():
            seen = self.units.setdefault(unit, Unit())
            for _ in range(AGAIN):
                came = await self._asked(unit, pdu, AGAIN_S)
                if came.answer is not None:
                    break
                seen.asked += 1
                note(seen, self.wire, unit, pdu, came)
        return came.answer is not None

    async def _asked(self, unit: int, pdu: bytes, wait_s: float) -> Came:
        came = await self.wire.ask(unit, pdu, wait_s)
        if came.answer is not None:
            self._here(unit)
        if came.late is not None and 1 <= came.late <= 247:
            self._here(came.late)
            self._instead.setdefault(came.late, (unit, pdu))
        return came

    def _here(self, unit: int) -> None:
        if self._at is None:
            self._at = self.wire.link.line, set()
        if self._at[0] == self.wire.link.line:
            self._at[1].add(unit)

    def _is_noise(self) -> bool:
        """Rubbish came upon so many questions that it says nothing about this address."""
        evidence = self.wire.evidence
        return evidence.rubbish > 3 and evidence.rubbish > 0.5 * evidence.asked

    async def _sweep(self, units: Sequence[int], wait_s: float) -> None:
        line = self.wire.link.line
        for number, unit in enumerate(units):
            self._step_s = self._sweep_s(units[number:], wait_s)
            self._say("address", str(unit), line)
            if self._at is not None and unit in self._at[1]:
                continue
            for pdu in self._hellos:
                if await self._knock(unit, pdu, wait_s):
                    break

    async def _everywhere(self) -> None:
        """Nothing has answered: likely addresses at all settings, then all addresses at the likeliest."""
        self._behind_s = self._everywhere_s()
        for line in self._tried():
            await self.wire.set(line)
            self._behind_s -= self._sweep_s(LIKELY, _wait_s(line))
            await self._sweep(LIKELY, _wait_s(line))
            if self._at is not None:
                return
        self._behind_s = 0.0
        if self._wish.quick:
            return
        if not self._is_noise() and not any(unit.garbled for unit in self.units.values()):
            await self.wire.set(next(iter(self._lines())))
            await self._sweep(UNLIKELY, FAR_S)

    def _sweep_s(self, units: Sequence[int], wait_s: float) -> float:
        return len(units) * len(self._hellos) * (wait_s + OVERHEAD_S)

    def _factory_s(self) -> float:
        """How long it takes to ask for every model at its factory settings."""
        waits = [question.within_s for line in self._lines() for question in questions(line)]
        waits += [wait_s for line in self._lines() for _, _, wait_s in factory(self._kinds, line)]
        return sum(waits)

    def _everywhere_s(self) -> float:
        """How long a port takes at which nothing answers."""
        likely_s = sum(self._sweep_s(LIKELY, _wait_s(line)) for line in self._tried())
        return likely_s + (0.0 if self._wish.quick else self._sweep_s(UNLIKELY, FAR_S))

    def _tried(self) -> Iterable[Line]:
        """The settings at which the likely addresses are asked: quickly at the likeliest only."""
        every = list(self._lines())
        return every[:1] if self._wish.quick else every

    async def _name(self, unit: int) -> None:
        """Find out which model answers at an address, and whether it always answers."""
        line = self.wire.link.line
        self._say("name", str(unit), line)
        named = await name(
            self.wire, self._asked, self._kinds, unit, self._hellos[-1], self._instead.get(unit)
        )
        if named.unit is not None:
            self.units[unit] = named.unit
        if named.problem is not None:
            self.report.problems.append(named.problem)
        first = named.first
        if first is None:
            return
        self._add(
            Found(
                port=self.port, baudrate=line.baudrate, format=line.format, framing=self.wire.link.framing,
                echo=self._echoes(), model=first.kind.model,
                title=f"{first.kind.profile.maker} {first.kind.profile.title}",
                medium=first.kind.profile.medium, address=unit, shares_bus=True, sure=not named.others,
                others=named.others, identity=first.identity, values=first.values, after_s=self._since_s(),
            )
        )  # fmt: skip

    def _found(self, known: Heard, line: Line) -> None:
        if known.model == "modem":
            self.report.state = "modem"
            self.report.problems.append(Problem(code="modem", port=self.port))
            return
        title, medium = ("", "")
        if known.model:
            model = catalogue.find(known.model)
            title, medium = model.title, model.medium or ""
        self._add(
            Found(
                port=self.port, baudrate=line.baudrate, format=line.format, model=known.model, title=title,
                medium=medium, identity=known.identity, values=known.values, after_s=self._since_s(),
            )
        )  # fmt: skip

    def _add(self, found: Found) -> None:
        self.report.instruments.append(found)
        self._say("found", found.model or "?")

    def _echoes(self) -> bool:
        evidence = self.wire.evidence
        return evidence.asked >= LEAST and evidence.echoed > 0.5 * evidence.asked

    def _finish(self) -> None:
        self.report.asked = self.wire.evidence.asked
        self.report.seconds = round(self._since_s(), 1)
        known = {problem.code for problem in self.report.problems}
        is_found = bool(self.report.instruments or known & ANSWERED) or self.report.state == "modem"
        if not known & {"modem", "master", "closed", "lost"} and self.wire.evidence.asked:
            self.report.problems += diagnose(self.port, self.wire.evidence, self.units, found=is_found)
        if self.report.instruments:
            self.report.state = "found"
        elif self.report.state == "silent" and {p.code for p in self.report.problems} - {"nothing"}:
            self.report.state = "trouble"

    def _since_s(self) -> float:
        return round(asyncio.get_running_loop().time() - self._at_s, 2)

    def _say(self, code: str, about: str = "", line: Line | None = None) -> None:
        self.doing = Doing(code, about, f"{line.baudrate} {line.format}" if line is not None else "")
        self.done_s = self._since_s()
        self._told(self)


def _wait_s(line: Line) -> float:
    return FAR_S if line.baudrate > 4800 else NEAR_S


def busy(port: str, by: str) -> PortReport:
    """The report of a port that somebody has: it is left alone."""
    return PortReport(port=port, state="held", problems=[Problem(code="held", port=port, about=by)])
