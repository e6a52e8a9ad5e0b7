"""What station.toml says of a sensor's calibration: [sensor.calibration] and [sensor.correct.<quantity>]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway import config_words as words
from gateway.config_formulas import FORMULAS as FORMULAS
from gateway.config_part import Pair, Part


class Stable(Part):
    """When a reading in a standard counts: all of `over` within `within` of each other."""

    within: Annotated[float, words.number(0, 1e6)]
    over_s: Annotated[float, words.within("1 s", "1 h")] = Field(30.0, alias="over")


class Calibration(Part):
    """[sensor.calibration]"""

    every_s: Annotated[float | None, words.within("1 h", "1000 d")] = Field(None, alias="every")
    """How long one is good for; then an event says that it is due."""
    accept: Pair = (85.0, 105.0)
    """Slope in % of the theoretical, for a pH electrode."""
    offset_mv: Annotated[float, words.number(0, 500)] = 30.0
    """How far the zero point of a pH electrode may be off."""
    stable: Stable | None = None
    method: Literal["instrument", "station"] | None = None
    """Where the calibration is kept; None: in the instrument where its driver can."""
    fit: Literal["points", "least-squares"] = "points"
    """How three and more points are joined, where the station keeps the calibration."""


class Correct(Part):
    """[sensor.correct.<quantity>]: a formula that needs something beside the measurement."""

    formula: Literal["barkjohn-2021", "conductivity-25", "nernst"]
    beside: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}\.[a-z][a-z0-9_]{0,39}$")]
    """SENSOR.QUANTITY: the humidity, or the temperature."""
    colocated: Annotated[str, Field(max_length=200)] = ""
    """The reference instrument it was compared with at this place, and when."""
