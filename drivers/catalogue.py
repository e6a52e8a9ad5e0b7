"""Which instruments there are: from a model's name in station.toml to an object that reads it.

A model is looked for in this order, and the first one found counts:

    <folder>/<model>.toml             your own profiles: the `profiles` folder next to station.toml
    drivers/profiles/<model>.toml     the Modbus profiles that come with the product
    drivers/<model>.py (_ for -)      a driver in code: `LINE`, a class `Driver(address=None, **options)`

There is no registry: a file's name is the model's name. Driver modules and the profile reader are imported
only when a station asks for them.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from drivers.base import Instrument, Quantity
from drivers.datafile import BadFile
from drivers.link import Line

HERE = Path(__file__).parent
PROFILES = HERE / "profiles"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
# A driver is a module with a class `Driver`; looked for in its text, so that listing models imports nothing.
_DRIVER_CLASS = re.compile(r"^class Driver\b", re.MULTILINE)

Options = Mapping[str, Any]


class UnknownModel(LookupError):
    """No profile and no driver has this name. One line, with the closest names there are."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        self.model = model
        parts = [name for name in known if len(model) > 2 and model in name]
        from difflib import get_close_matches  # seldom, and it takes memory

        self.close = parts[:3] or get_close_matches(model, known, n=3, cutoff=0.5)
        asked = f"did you mean {' or '.join(self.close)}?" if self.close else f"there are: {', '.join(known)}"
        super().__init__(f"no model {model[:64]!r}: {asked}")


class BadProfile(BadFile):
    """A profile file that cannot be used."""


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a kind of instrument before one is made."""

    name: str
    kind: Literal["profile", "driver"]
    title: str
    medium: str | None
    """What it usually measures (water, air, soil, power); station.toml decides."""
    line: Line
    """The serial settings it leaves the factory with."""
    shares_bus: bool
    """True where several instruments may live on one wire, each with its own address."""
    address: int | None
    """The address it leaves the factory with; None where the instrument has none."""
    quantities: tuple[Quantity, ...]
    source: str
    verified: str
    file: Path
    _make: Callable[[int | None, Options], Instrument]

    def make(self, address: int | None = None, options: Options | None = None) -> Instrument:
        """Make the object that reads one such instrument.

        Raises ValueError with a hint for an address or an option it cannot have.
        """
        return self._make(address, dict(options or {}))


def find(model: str, folders: Sequence[Path] = ()) -> Model:
    """Find a model by its name. Raises UnknownModel, or BadProfile when its file cannot be used."""
    if not _NAME.fullmatch(model):
        raise UnknownModel(model, names(folders))
    for folder in (*folders, PROFILES):
        file = folder / f"{model}.toml"
        if file.is_file():
            return _from_profile(file)
    if model in _driver_names():
        return _from_driver(model)
    raise UnknownModel(model, names(folders))


def names(folders: Sequence[Path] = ()) -> list[str]:
    """Every model that `find` would find, sorted."""
    found = {
        file.stem
        for folder in (*folders, PROFILES)
        for file in folder.glob("*.toml")
        if _NAME.fullmatch(file.stem)
    }
    return sorted(found | _driver_names())


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _driver_names() -> frozenset[str]:
    return frozenset(
        file.stem.replace("_", "-")
        for file in HERE.glob("*.py")
        if _DRIVER_CLASS.search(file.read_text(encoding="utf-8"))
    )


def _from_profile(file: Path) -> Model:
    from drivers import (
        modbus_instrument,
        profile,
    )  # late: pydantic costs 13 MB, and a station of UART sensors has no use for it

    p = profile.load(file)
    return Model(
        name=p.model,
        kind="profile",
        title=f"{p.maker} {p.title}",
        medium=p.medium,
        line=Line(p.line.baudrate, p.line.format),
        shares_bus=True,
        address=p.address,
        quantities=profile.quantities(p),
        source=str(p.source),
        verified=p.verified,
        file=file,
        _make=lambda address, options: modbus_instrument.ModbusInstrument(p, address, options),
    )


def _from_driver(model: str) -> Model:
    module = importlib.import_module(f"drivers.{model.replace('-', '_')}")
    driver = module.Driver
    line = module.LINE
    if not isinstance(line, Line):
        raise TypeError(f"drivers/{model.replace('-', '_')}.py: LINE must be a drivers.link.Line")
    quantities = inspect.getattr_static(driver, "quantities", None)
    if not isinstance(quantities, tuple):  # a property, or set for each instance by its options
        quantities = driver().quantities
    first, *_ = (inspect.getdoc(module) or model).splitlines()

    def make(address: int | None, options: Options) -> Instrument:
        _know(driver, model, options)
        made: Instrument = driver(address, **options)
        return made

    return Model(
        name=model,
        kind="driver",
        title=str(getattr(driver, "title", first)).rstrip("."),
        medium=getattr(driver, "medium", None),
        line=line,
        shares_bus=bool(getattr(driver, "shares_bus", False)),
        address=getattr(driver, "default_address", None),
        quantities=quantities,
        source=str(getattr(driver, "source", f"see the head of drivers/{model.replace('-', '_')}.py")),
        verified=str(getattr(driver, "verified", "see the table in drivers/README.md")),
        file=Path(inspect.getfile(module)),
        _make=make,
    )


def _know(driver: type, model: str, options: Options) -> None:
    """Turn an option the driver does not have into a ValueError with a hint instead of Python's TypeError."""
    parameters = inspect.signature(driver).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    allowed = [name for name in parameters if name != "address"]
    for name in options:
        if name not in allowed:
            from difflib import get_close_matches  # seldom, and it takes memory

            close = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has: {', '.join(allowed) or 'none'}"
            raise ValueError(f"{model} has no option {name!r}: {hint}")
