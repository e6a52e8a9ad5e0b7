"""What all parts of station.toml share: how strictly they are read, and the kinds of their values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway import config_words as words

Medium = Literal["water", "air", "soil", "power", "station"]
Kind = Literal[
    "surface water", "ground water", "drinking water", "mine water", "waste water",
    "outdoor air", "indoor air", "workplace air", "emission",
]  # fmt: skip
"""Those of alerts.kinds."""
Language = Literal["ky", "ru", "en"]
Priority = Literal["critical", "high", "low"]
Baudrate = Literal[1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400, 460800, 921600]
Format = Literal["8N1", "8E1", "8O1", "8N2", "7E1", "7O1", "7N2"]

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Port = Annotated[str, BeforeValidator(words.port)]
Pair = Annotated[tuple[float, float], BeforeValidator(words.ascending)]


class Part(BaseModel):
    """What all parts share: an unknown key is a mistake, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )
