"""`suuaba calibrate` and `suuaba maintenance`: what a technician sees in the terminal.

Where the service runs, it does the work on its own wire and this only asks and shows (gateway.control);
where it does not, the same desk (gateway.calibrate) is opened here, on the journal and the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gateway import config
from gateway.calibrate import Desk, Job, Place
from gateway.calibration_words import say
from gateway.control import ask
from gateway.errors import ConfigError, ControlError, NotRunning
from gateway.station import Station

SETTLE_WITHIN_S = 600.0
LOOK_EVERY_S = 1.0
FILE_LIMIT = 64 * 1024
KEYS = (
    "by", "point", "found", "found_side", "cleaned", "cleaned_side", "adjust", "quantity", "photo", "note",
    "spread",
)  # fmt: skip
"""What a file of noted readings may say; a [[point]] has nominal, reading, lot, expires, temperature_degc."""

Ask = Callable[..., Awaitable[dict[str, Any]]]


class Terminal(Protocol):
    """What a technician types and sees."""

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def show(self, text: str) -> None:
        """A line that the next one takes the place of."""
        ...

    async def ask(self, text: str) -> str:
        """Wait for a line."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line said."""

    sensor: str
    points: str = ""
    by: str = ""
    quantity: str = ""
    standards: str = ""
    adjust: bool = True
    photo: str = ""
    note: str = ""
    exchanged: bool = False
    """The probe is another one: its error is not that of the past."""


async def calibrate(file: Path, wish: Wish, terminal: Terminal) -> int:
    """Guide through a calibration, or take noted readings. Gives the exit code: 1 when it is not good.

    Raises ConfigError, ControlError, JournalError.
    """
    station = config.load(file)
    if wish.sensor not in [sensor.id for sensor in station.sensors]:
        known = ", ".join(sensor.id for sensor in station.sensors)
        raise ConfigError([f"{file.name}: there is no sensor {wish.sensor!r}; there are {known}"])
    given = _noted(wish) if wish.points else None
    if given is not None and not (given.get("by") or wish.by):
        raise ConfigError(["calibrate: --by NAME is missing: the ledger needs a name"])
    async with _desk(station) as verbs:
        if given is not None:
            by = str(given.pop("by", "") or wish.by)
            done = await verbs("calibrate_by_hand", sensor=wish.sensor, by=by, **given)
        else:
            done = await _guided(verbs, wish, station.language, terminal)
        return _tell(done, station.language, terminal)


async def maintenance(
    file: Path, deed: str, *, sensor: str, minutes: float, by: str, why: str, tell: Callable[[str], object]
) -> int:
    """Begin or end maintenance, or list what stands. Raises ConfigError, ControlError."""
    station = config.load(file)
    if deed == "list":
        answer = await ask(station.data, "status")
        standing = answer.get("maintenance", [])
    else:
        answer = await ask(
            station.data,
            "maintenance",
            sensor=sensor,
            minutes=minutes if deed == "begin" else 0,
            by=by,
            why=why,
        )
        standing = answer["standing"]
    for row in standing:
        minutes_left = round(row["left_s"] / 60)
        tell(f"{row['sensor'] or station.id}: {row['by']}, {minutes_left} min left  {row['why']}")
    if not standing:
        tell("no maintenance")
    return 0


# ── the guided way ──────────────────────────────────────────────────────────────────────────────────────────


async def _guided(verbs: Ask, wish: Wish, language: str, terminal: Terminal) -> dict[str, Any]:
    by = wish.by or (await terminal.ask(say("who", language))).strip()
    listed = wish.standards or await terminal.ask(say("standards", language))
    standards = [{"nominal": _number(word)} for word in listed.replace(",", " ").split()]
    state = await verbs(
        "calibrate_begin", sensor=wish.sensor, by=by, quantity=wish.quantity, standards=standards
    )
    session = state["session"]
    stopped = False
    try:
        while state["step"] != "finish" and not stopped:
            stopped, state = await _step(verbs, session, state, language, terminal)
    except (EOFError, KeyboardInterrupt, asyncio.CancelledError):
        await verbs("calibrate_finish", session=session, note="broken off")
        raise
    photo, note = wish.photo, wish.note
    if not stopped:
        photo = photo or (await terminal.ask(say("photo", language))).strip()
        note = note or (await terminal.ask(say("note", language))).strip()
    return await verbs("calibrate_finish", session=session, photo=photo, note=note, spread=not wish.exchanged)


async def _step(
    verbs: Ask, session: str, state: dict[str, Any], language: str, terminal: Terminal
) -> tuple[bool, dict[str, Any]]:
    """One step: whether the technician stops, and the state after it."""
    name = state["step"]

    async def send(do: str, **given: Any) -> dict[str, Any]:
        return await verbs("calibrate_step", session=session, do=do, given=given)

    if name == "decide":
        for point in state["points"]:
            if point["found"] is not None:
                error = point["found"] - point["value"]
                terminal.say(f"  {point['value']:.4g}: {point['found']:.4g} ({error:+.3g})")
        question = "keep" if state["advice"] == "keep" else "adjust?"
        yes = (await terminal.ask(say(question, language))).strip().lower() in ("y", "д", "о")
        return False, await _try(send("take", adjust=yes), state, terminal)
    terminal.say(say(name, language, standard=state["standard"] or 0.0))
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + SETTLE_WITHIN_S
    anyway = False
    while not state["stable"] and name not in ("found", "cleaned"):
        terminal.show(_line(state, language))
        if loop.time() > give_up_s:
            anyway = (await terminal.ask(say("unstable", language))).strip().lower() in ("y", "д", "о")
            if anyway:
                break
            give_up_s = loop.time() + SETTLE_WITHIN_S
        await asyncio.sleep(LOOK_EVERY_S)
        state = await send("look")
    while state["reading"] is None:
        terminal.show(_line(state, language))
        await asyncio.sleep(LOOK_EVERY_S)
        state = await send("look")
    terminal.say(_line(state, language))
    given: dict[str, Any] = {"anyway": True} if anyway else {}
    asked = {"check": ("lot", "expires"), "found": (), "cleaned": ()}.get(name, ())
    for key in asked:
        if text := (await terminal.ask(say(key, language))).strip():
            given[key] = text
    number = ""
    if name in ("found", "cleaned"):
        number = "side"
    elif name == "check" and state["temperature_degc"] is None:
        number = "temperature"
    if number and (text := (await terminal.ask(say(number, language))).strip()):
        given["side" if number == "side" else "temperature_degc"] = _number(text)
    answer = (await terminal.ask(say("confirm" if name == "adjust" else "take", language))).strip().lower()
    if answer == "q":
        return True, state
    if answer == "s" and name != "adjust":
        return False, await send("skip")
    if name == "adjust":
        if answer not in ("y", "д", "о"):
            return True, state
        given["confirm"] = True
    return False, await _try(send("take", **given), state, terminal)


async def _try(step: Awaitable[dict[str, Any]], state: dict[str, Any], terminal: Terminal) -> dict[str, Any]:
    """A step that was refused is said, and stands."""
    try:
        after = await step
    except ControlError as e:
        terminal.say(f"  {e}")
        return state | {"stable": False}
    if after["problem"]:
        terminal.say(f"  {after['problem']}")
    return after


def _line(state: Mapping[str, Any], language: str) -> str:
    if state["problem"]:
        return f"  {state['problem']}"
    if state["reading"] is None:
        return "  …"
    settled = say("stable" if state["stable"] else "waiting", language)
    spread = "" if state["spread"] is None else f", ±{state['spread'] / 2:.3g} / {state['covered_s']:.0f} s"
    degc = "" if state["temperature_degc"] is None else f", {state['temperature_degc']:.1f} degC"
    return f"  {state['reading']:.4g} {state['unit']}{degc}  {settled}{spread}"


def _tell(done: Mapping[str, Any], language: str, terminal: Terminal) -> int:
    entry = done["entry"]
    terminal.say(f"{entry['sensor']}: {say(entry['verdict'], language)}")
    for reason in entry["reasons"]:
        terminal.say(f"  {reason}")
    if entry["slope_percent"] is not None:
        terminal.say(f"  slope {entry['slope_percent']:.1f} %, offset {entry['offset_mv'] or 0.0:+.1f} mV")
    if any(version["kind"] == "drift" for version in done["versions"]):
        terminal.say(f"  {say('history', language)}")
    terminal.say(f"  no. {entry['number']}, SHA-256 {entry['sha256'][:16]}…")
    return 1 if entry["verdict"] == "failed" else 0


# ── noted readings ──────────────────────────────────────────────────────────────────────────────────────────


def _noted(wish: Wish) -> dict[str, Any]:
    """`7.00=7.08,4.01=4.15`, or a TOML file with [[point]]. Raises ConfigError."""
    extra = {"adjust": wish.adjust, "photo": wish.photo, "note": wish.note, "quantity": wish.quantity}
    if wish.exchanged:
        extra["spread"] = False
    if "=" in wish.points:
        points = []
        for part in wish.points.replace(";", ",").split(","):
            nominal, _, reading = part.partition("=")
            points.append({"nominal": _number(nominal), "reading": _number(reading)})
        return extra | {"points": points}
    try:
        with Path(wish.points).open("rb") as stream:
            found = tomllib.loads(stream.read(FILE_LIMIT).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else str(e)
        text = f"calibrate: --points {wish.points}: {why}; write 7.00=7.08,4.01=4.15 or a file's name"
        raise ConfigError([text]) from e
    known = {
        "by",
        "point",
        "found",
        "cleaned",
        "found_side",
        "cleaned_side",
        "adjust",
        "photo",
        "note",
        "spread",
    }
    if strange := sorted(set(found) - known - {"quantity"}):
        allowed = ", ".join(sorted(known))
        raise ConfigError([f"calibrate: {wish.points}: {strange[0]} is no key; allowed are {allowed}"])
    points = found.pop("point", [])
    return {key: value for key, value in extra.items() if value != ""} | found | {"points": points}


def _number(text: str) -> float:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise ConfigError([f"calibrate: {text.strip()!r} is no number; write for instance 7.00"]) from None


# ── far and near ────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def _desk(station: config.Station) -> AsyncIterator[Ask]:
    """The desk's verbs: those of the service that runs, or of one that is opened here."""
    far = functools.partial(ask, station.data)
    try:
        await far("status")
    except NotRunning:
        pass
    else:
        yield far
        return
    here = Station(station)
    await here.journal.open()
    places: dict[str, Place] = {}
    for bus in here.buses:
        for sensor in bus.sensors:

            async def do(job: Job, bus: Any = bus, sensor: Any = sensor) -> Any:
                await bus.link.open()
                return await job(sensor.instrument, bus.link)

            places[sensor.id] = Place(sensor, do)
    desk = Desk(
        station, places, append=here.journal.append, sync=here.journal.sync, stamp=here.clock.stamp,
        calibrations=here.calibrations, maintenance=here.maintenance,
    )  # fmt: skip
    try:
        yield functools.partial(_near, desk)
    finally:
        for bus in here.buses:
            bus.link.close()
        await here.journal.close()


async def _near(desk: Desk, verb: str, **body: Any) -> dict[str, Any]:
    from gateway.control import Request

    answer: Any = desk.verbs()[verb](Request(verb, body))
    return dict(await answer)
