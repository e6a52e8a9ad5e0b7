"""A Modbus instrument as data: reading a profile file, and saying what is wrong with one.

A profile is one TOML file named after its model. It holds facts from a manual and nothing that computes: no
expressions, no includes. The smallest useful one:

    model = "renke-rs-ph-n01"
    maker = "Renke"
    title = "RS-PH-N01 pH transmitter"
    medium = "water"
    verified = "not on hardware"
    line = { baudrate = 4800, format = "8N1" }
    source = { manual = "RS-PH-N01 user manual", revision = "unknown", table = "register table" }

    [[register]]
    quantity = "ph"
    unit = "pH"
    digits = 2
    address = 0x0000
    format = "uint16"
    scale = 0.01

All keys stand in drivers/profile_format.py; drivers/README.md walks through adding one. What reads an
instrument by its profile is `drivers.modbus_instrument.ModbusInstrument`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from drivers.catalogue import BadProfile
from drivers.datafile import FILE_LIMIT, Mistake, content, parse
from drivers.profile_format import CANONICAL, SIZES, Profile, Step
from drivers.profile_plan import quantities

__all__ = ["FILE_LIMIT", "load", "quantities", "schema"]


def load(file: Path) -> Profile:
    """Read and check a profile. Raises BadProfile, which has one line for each mistake."""
    return _checked(file, content(file, BadProfile))


def schema() -> dict[str, Any]:
    """The JSON Schema of a profile, for editors. docs/schema/profile.schema.json is this."""
    made = Profile.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Suu-Aba Modbus profile",
    }


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=256)
def _checked(file: Path, text: bytes) -> Profile:
    """The profile in a file's bytes; a station with many instruments of a model asks for it often."""
    see = "a profile is short: see drivers/README.md"
    profile = parse(file, text, Profile, see=see, error=BadProfile)
    mistakes = [*_wrong_registers(profile), *_wrong_status(profile), *_wrong_sequences(profile)]
    mistakes += _wrong_calibrate(profile)
    if profile.model != file.stem:
        what = f"{profile.model!r} is not the file's name"
        mistakes.append(("model", what, f"name the file {profile.model}.toml, or write {file.stem!r}"))
    if mistakes:
        raise BadProfile.of(file, mistakes)
    return profile


# ── what no single key shows ───────────────────────────────────────────────────────────────────────────────


def _wrong_registers(p: Profile) -> Iterator[Mistake]:
    owner: dict[tuple[str, int], str] = {}  # the quantity that has a byte of a table
    names: set[str] = set()
    for number, r in enumerate(p.registers, 1):
        key = f"register {number} ({r.quantity})"
        if r.quantity in names:
            yield f"{key}.quantity", "stands twice", "give each quantity a name of its own"
            continue
        names.add(r.quantity)
        units = CANONICAL.get(r.quantity, (r.unit,))
        if r.unit not in units:
            yield (
                f"{key}.unit",
                f"{r.quantity} is kept in {' or '.join(units)}, not {r.unit}",
                "convert with scale",
            )
        if r.scale == 0:
            yield f"{key}.scale", "is 0", "value = number on the wire x scale + offset"
        if r.valid and not r.valid[0] < r.valid[1]:
            yield f"{key}.valid", f"{r.valid} is no range", "write [lowest, highest]"
        if r.address + SIZES[r.format] > 0x10000:
            yield (
                f"{key}.address",
                f"{r.format} at {r.address} ends behind 65535",
                "compare with the manual's table",
            )
            continue
        first = 2 * r.address + (r.format == "second-byte")
        size = 1 if r.format.endswith("-byte") else 2 * SIZES[r.format]
        others = {owner.setdefault((r.table, at), r.quantity) for at in range(first, first + size)} - {
            r.quantity
        }
        if others:
            what = f"overlaps the register of {' and '.join(sorted(others))}"
            yield (
                f"{key}.address",
                what,
                f"compare address and format of both ({r.format} takes {SIZES[r.format]})",
            )


def _wrong_status(p: Profile) -> Iterator[Mistake]:
    measured = [r.quantity for r in p.registers]
    for number, s in enumerate(p.status, 1):
        key = f"status {number} ({s.name})"
        if s.format.startswith("float"):
            yield f"{key}.format", "a status is no float", "write uint16, uint32, first-byte or second-byte"
        if s.address + SIZES[s.format] > 0x10000:
            yield (
                f"{key}.address",
                f"{s.format} at {s.address} ends behind 65535",
                "compare with the manual's table",
            )
        for kind, words, top in (
            ("values", s.values, 0xFFFFFFFF),
            ("bits", s.bits, SIZES[s.format] * 16 - 1),
        ):
            for word in words:
                if not (word.isascii() and word.isdigit() and len(word) <= 10 and int(word) <= top):
                    yield (
                        f"{key}.{kind}",
                        f"{word!r} is no number from 0 to {top}",
                        "write the numbers as keys",
                    )
        for name in s.of:
            if name not in measured:
                yield f"{key}.of", f"no register measures {name!r}", f"there are: {', '.join(measured)}"


def _wrong_sequences(p: Profile) -> Iterator[Mistake]:
    clean = p.clean.step if p.clean else []
    for name, steps in (("start", p.start), ("before", p.before), ("clean.step", clean)):
        for number, step in enumerate(steps, 1):
            if len(step.model_fields_set) != 1:
                what = f"has {len(step.model_fields_set)} steps in it"
                yield f"{name} {number}", what, f"write exactly one of: {', '.join(Step.model_fields)}"
    for number, block in enumerate(p.block, 1):
        if block.address + block.count > 0x10000:
            yield f"block {number}.count", "ends behind 65535", "compare with the manual's table"
    for number, setting in enumerate(p.setting, 1):
        key = f"setting {number} ({setting.option})"
        lowest, highest = setting.allowed
        bottom, top = (0, 0xFFFF) if setting.format == "uint16" else (-0x8000, 0x7FFF)
        if not bottom <= lowest <= highest <= top:
            yield (
                f"{key}.allowed",
                f"{setting.allowed} is no range",
                f"[lowest, highest] within {bottom} to {top}",
            )
        if setting.cleans_every_s and p.clean is None:
            yield f"{key}.cleans_every_s", "there is no [clean]", "say in [clean] how long a cleaning takes"


def _wrong_calibrate(p: Profile) -> Iterator[Mistake]:
    c = p.calibrate
    if c is None:
        return
    measured = [r.quantity for r in p.registers]
    if c.quantity not in measured:
        yield (
            "calibrate.quantity",
            f"no register measures {c.quantity!r}",
            f"there are: {', '.join(measured)}",
        )
    ways = [bool(c.point), c.value is not None, c.coefficients is not None]
    if sum(ways) != 1:
        what = f"has {sum(ways)} ways"
        yield "calibrate", what, "write exactly one of: [[calibrate.point]], value, coefficients"
    if c.least > c.most:
        yield "calibrate.least", f"is more than most ({c.most})", "write the smaller number"
    standards = {round(s, 2) for s in c.standards}
    for number, taken in enumerate(c.point, 1):
        if round(taken.standard, 2) not in standards:
            yield f"calibrate.point {number}.standard", "is not one of standards", "write it there too"
        if taken.function == 6 and len(taken.words) != 1:
            yield f"calibrate.point {number}.words", "function 6 writes one word", "write function = 16"
        if any(not 0 <= word <= 0xFFFF for word in taken.words):
            yield f"calibrate.point {number}.words", "a word is 0 to 65535", "compare with the manual"
