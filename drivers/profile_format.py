"""What may stand in a Modbus profile: the TOML format as types, each key with words for who gets it wrong.

A key's description is also the remedy in an error message and the text in docs/schema/profile.schema.json, so
it says what may be written, not how it is used.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from drivers.profile_sizes import SIZES as SIZES

CANONICAL = {
    "ph": ("pH",), "orp": ("mV",), "turbidity": ("NTU", "FNU"), "conductivity": ("uS/cm",),
    "dissolved_oxygen": ("mg/L",), "suspended_solids": ("mg/L",), "level": ("m",),
    "water_temperature": ("degC",), "air_temperature": ("degC",), "cpu_temperature": ("degC",),
    "pm1": ("ug/m3",), "pm2_5": ("ug/m3",), "pm4": ("ug/m3",), "pm10": ("ug/m3",),
    "humidity": ("%",), "pressure": ("hPa",), "rain": ("mm",),
    "wind_speed": ("m/s",), "wind_direction": ("deg",),
    "voltage": ("V",), "current": ("A",), "power": ("W",), "charge": ("%",), "signal": ("dBm",),
}  # fmt: skip
"""Quantities that mean the same at every station, and the unit they are kept in; a profile scales into it."""


def _says(text: str, **limits: Any) -> Any:
    return Field(description=text, **limits)


_Name = Annotated[
    str, _says('small letters, digits and _: "ph", "water_temperature"', pattern=r"^[a-z][a-z0-9_]{0,39}$")
]
_Text = Annotated[str, Field(min_length=1, max_length=500)]
_Printed = Annotated[str, _says("the number as the manual prints it, where it differs", max_length=60)]
_Seconds = Annotated[float, _says("seconds, 0 to 3600", ge=0, le=3600)]
_Range = Annotated[list[float], Field(min_length=2, max_length=2)]
_Address = Annotated[
    int,
    _says("the address on the wire, 0 to 65535, counted from 0 (40001 in a manual is 0)", ge=0, le=0xFFFF),
]
_Table = Annotated[
    Literal["holding", "input"], _says("holding (read with function 03) or input (read with function 04)")
]
_Function = Annotated[Literal[6, 16], _says("the function to write with: 6 or 16")]
_Order = Annotated[
    Literal["ABCD", "CDAB", "BADC", "DCBA"],
    _says(
        "ABCD (high byte first), CDAB (low register first), BADC, or DCBA (low byte first, even in 16 bits)"
    ),
]
_Format = Annotated[
    Literal[
        "int16",
        "uint16",
        "int32",
        "uint32",
        "float32",
        "int64",
        "uint64",
        "float64",
        "first-byte",
        "second-byte",
    ],
    _says(f"one of {', '.join(SIZES)} (of a register)"),
]
_Words = Annotated[dict[str, _Text], _says('numbers and their meaning: { 3 = "lamp out" }', max_length=64)]


class Part(BaseModel):
    """What all parts of a profile share: an unknown key is a mistake, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Source(Part):
    """Where the facts come from."""

    manual: Annotated[_Text, _says("the document's title, or the program the facts are taken from")]
    revision: Annotated[_Text, _says('its revision or date, or "unknown"')]
    table: Annotated[_Text, _says("the table or page with the registers")]
    link: Annotated[str, _says("where it can be read", max_length=300)] = ""

    def __str__(self) -> str:
        return f"{self.manual}, {self.revision}, {self.table}"


class LineSettings(Part):
    """The serial settings the instrument leaves the factory with."""

    baudrate: Annotated[
        Literal[1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600, 115200],
        _says("1200, 2400, 4800, 9600, 14400, 19200, 38400, 57600 or 115200"),
    ]
    format: Annotated[
        Literal["8N1", "8E1", "8O1", "8N2", "7E1", "7O1", "7N2"],
        _says('data bits, parity, stop bits: "8N1", "8E1", "8O1", "8N2", "7E1", "7O1" or "7N2"'),
    ]


class Timing(Part):
    """What the instrument wants waited for."""

    answer_s: Annotated[float, _says("seconds it may take to answer, above 0 to 30", gt=0, le=30)] = 0.5
    gap_s: Annotated[float, _says("seconds of quiet it wants between requests, 0 to 10", ge=0, le=10)] = 0.0
    boot_s: Annotated[_Seconds, _says("seconds after power-up before it answers at all, 0 to 3600")] = 0.0
    warm_up_s: Annotated[
        _Seconds,
        _says("seconds after power-up, or its start sequence, until its numbers are good, 0 to 3600"),
    ] = 0.0


class Register(Part):
    """One number the instrument measures."""

    quantity: _Name
    unit: Annotated[
        str, _says('ASCII without spaces: "degC", "uS/cm", "ug/m3", "NTU", "%"', pattern=r"^[!-~]{1,16}$")
    ]
    digits: Annotated[int, _says("digits behind the point that are worth showing, 0 to 6", ge=0, le=6)]
    table: _Table = "holding"
    address: _Address
    printed: _Printed = ""
    format: _Format
    order: _Order = "ABCD"
    scale: Annotated[float, _says("value = number on the wire x scale + offset; not 0")] = 1.0
    offset: Annotated[float, _says("value = number on the wire x scale + offset")] = 0.0
    invalid: Annotated[
        list[float], _says("numbers on the wire that mean none (NaN and infinity always do)", max_length=16)
    ] = []
    valid: Annotated[
        _Range | None, _says("[lowest, highest] value it can physically give; others are not passed on")
    ] = None


class Status(Part):
    """A register, or a byte of one, in which the instrument says how it is."""

    name: Annotated[_Text, _says("what the manual calls it")]
    table: _Table = "holding"
    address: _Address
    printed: _Printed = ""
    format: _Format = "uint16"
    order: _Order = "ABCD"
    good: Annotated[list[int], _says("values that mean all is well: [0]", max_length=64)] = [0]
    values: Annotated[_Words, _says('what other values mean: { 3 = "lamp out" }')] = {}
    bits: Annotated[_Words, _says('what set bits mean: { 0 = "over-range" }; others do not count')] = {}
    means: Annotated[
        Literal["fault", "not-ready", "note"],
        _says('what follows from a value that is not good: "fault", "not-ready" or "note"'),
    ] = "fault"
    of: Annotated[list[str], _says("only these quantities are withheld, with a note", max_length=64)] = []


class Write(Part):
    """One register to write."""

    address: _Address
    value: Annotated[int, _says("0 to 65535", ge=0, le=0xFFFF)]
    function: _Function = 6


class WaitRegister(Part):
    """Wait as long as the instrument says in a register."""

    address: _Address
    table: _Table = "holding"
    scale: Annotated[float, _says("seconds for one count: 0.001 for milliseconds", gt=0, le=60)] = 0.001
    plus_s: Annotated[float, _says("seconds to add, 0 to 60", ge=0, le=60)] = 0.0
    at_most_s: Annotated[float, _says("the longest wait that is believed, to 60 s", gt=0, le=60)] = 10.0


class Step(Part):
    """One step of a sequence: exactly one of these keys."""

    write: Annotated[Write | None, _says("{ address = …, value = … }")] = None
    write_zero: Annotated[_Address | None, _says("address: function 16 with no register, a command")] = None
    read_zero: Annotated[_Address | None, _says("address: function 03 of no register, a command")] = None
    read_one: Annotated[_Address | None, _says("address: function 03 of one register, a command")] = None
    wait_s: Annotated[float | None, _says("seconds, above 0 to 60", gt=0, le=60)] = None
    wait_register: Annotated[WaitRegister | None, _says("{ address = …, scale = 0.001 }")] = None


class NotReadyRule(Part):
    """How the instrument shows that it has no number yet."""

    zeros: Annotated[Literal[True], _says("true: a reading whose bytes are all zero is none")]
    retry_s: Annotated[float, _says("seconds before it is asked again, above 0 to 60", gt=0, le=60)] = 1.0
    retries: Annotated[int, _says("how often it is asked again, 0 to 10", ge=0, le=10)] = 3


class Block(Part):
    """Registers that the instrument wants to be read in exactly one piece."""

    table: _Table = "holding"
    address: _Address
    count: Annotated[int, _says("1 to 125 registers", ge=1, le=125)]


class Tells(Part):
    """What an identity must hold where the instrument is of this model."""

    text: Annotated[str, _says("characters that only this model has there", min_length=1, max_length=40)]
    at: Annotated[int | None, _says("their place, counted from 0; left out: anywhere", ge=0, le=127)] = None


class Identity(Part):
    """Something the instrument knows about itself."""

    name: Annotated[_Name, _says('"serial", "firmware", "hardware" …')]
    table: _Table = "holding"
    address: _Address
    printed: _Printed = ""
    count: Annotated[int, _says("registers to read, 1 to 64", ge=1, le=64)] = 1
    format: Annotated[
        Literal["ascii", "version", "hex", "uint16", "uint32", "float32"],
        _says('ascii, version (two bytes: 1 7 is "1.07"), hex, uint16, uint32 or float32'),
    ]
    order: _Order = "ABCD"
    tells: Annotated[Tells | None, _says('what in it names the model: { at = 2, text = "43" }')] = None


class Clean(Part):
    """How the instrument is made to wipe or flush itself, and how long its numbers are worth nothing then."""

    step: Annotated[list[Step], _says("the steps that start it", min_length=1, max_length=8)]
    busy_s: Annotated[_Seconds, _says("seconds without numbers from its start, 0 to 3600")]


class Setting(Part):
    """A register that station.toml may set under [sensor.options]: written at start, read back, watched."""

    option: Annotated[_Name, _says('the option\'s name with its unit: "wipe_interval_min"')]
    says: Annotated[_Text, _says("what it does")]
    address: _Address
    printed: _Printed = ""
    format: Annotated[Literal["uint16", "int16"], _says("uint16 or int16")] = "uint16"
    order: _Order = "ABCD"
    function: _Function = 16
    allowed: Annotated[list[int], _says("[lowest, highest]", min_length=2, max_length=2)]
    check_s: Annotated[
        float, _says("seconds between looks whether it still stands (if not, it was reset)", ge=1, le=86400)
    ] = 60.0
    cleans_every_s: Annotated[
        float | None, _says("for a cleaning interval: seconds in its unit (60 for minutes)", gt=0, le=86400)
    ] = None


class Taken(Part):
    """Where a calibration point is written."""

    standard: Annotated[float, _says("the number on the standard's bottle")]
    address: _Address
    words: Annotated[list[int], _says("what is written, 0 to 65535 each", min_length=1, max_length=4)]
    function: _Function = 6


class Verdict(Part):
    """The register in which the instrument says what it thinks of a calibration."""

    address: _Address
    format: _Format = "first-byte"
    order: _Order = "ABCD"
    good: Annotated[list[int], _says("values that mean it is in force", min_length=1, max_length=8)] = [0]
    pending: Annotated[list[int], _says("values that mean points are missing", max_length=8)] = []
    values: Annotated[_Words, _says('what the others mean: { 1 = "wrong buffers" }')] = {}


class Calibrate(Part):
    """How the instrument is calibrated over its wire: exactly one of point, value and coefficients."""

    quantity: _Name
    standards: Annotated[list[float], _says("the bottles it knows: [4.00, 6.86, 9.18]", max_length=8)] = []
    least: Annotated[int, _says("points it takes at least", ge=1, le=8)] = 1
    most: Annotated[int, _says("points it takes at most", ge=1, le=8)] = 3
    settle_s: Annotated[_Seconds, _says("seconds it wants to stand in a standard")] = 0.0
    point: Annotated[list[Taken], _says("for each standard what is written where", max_length=8)] = []
    value: Annotated[
        _Address | None, _says("address: the bottle's number is written here (float32), with function 16")
    ] = None
    coefficients: Annotated[
        _Address | None,
        _says("address of K and B (float32 each): shown = K x raw + B, read and written back changed"),
    ] = None
    scale: Annotated[float, _says("our unit / the unit of B: 1000 for mS/cm kept as uS/cm", gt=0)] = 1.0
    order: _Order = "ABCD"
    verdict: Verdict | None = None


class Profile(Part):
    """A model of Modbus instrument."""

    model: Annotated[
        str,
        _says("the file's name: small letters, digits and -", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$"),
    ]
    maker: Annotated[_Text, _says("who makes it")]
    title: Annotated[_Text, _says("what its label says, and what it is")]
    medium: Annotated[
        Literal["water", "air", "soil", "power", "station"], _says("water, air, soil, power or station")
    ]
    verified: Annotated[_Text, _says("against what it was checked, and what was not checked")]
    source: Annotated[Source, _says('{ manual = "…", revision = "…", table = "…" }: no fact without source')]
    line: Annotated[LineSettings, _says('{ baudrate = 9600, format = "8N1" }')]
    address: Annotated[int, _says("the address it leaves the factory with, 1 to 247", ge=1, le=247)] = 1
    timing: Timing = Timing()
    registers: Annotated[
        list[Register], _says("at least one [[register]]", alias="register", min_length=1, max_length=200)
    ]
    status: Annotated[list[Status], Field(max_length=32)] = []
    block: Annotated[list[Block], Field(max_length=32)] = []
    gap: Annotated[
        int, _says("registers nobody wants that may be read over to save a request, 0 to 120", ge=0, le=120)
    ] = 0
    start: Annotated[list[Step], _says("steps, once after power-up", max_length=16)] = []
    before: Annotated[list[Step], _says("steps, before every reading", max_length=16)] = []
    not_ready: NotReadyRule | None = None
    silent: Annotated[bool, _says("true: it says nothing where others send an exception")] = False
    identify: Annotated[list[Identity], Field(max_length=16)] = []
    clean: Clean | None = None
    setting: Annotated[list[Setting], Field(max_length=8)] = []
    calibrate: Calibrate | None = None
