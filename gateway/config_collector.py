"""collector.toml, read and checked: the centre's own file, in the manner of station.toml."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, ValidationError

from gateway import config_words as words
from gateway.config_lines import from_pydantic, mean
from gateway.config_part import Id, Part
from gateway.config_parts import Database
from gateway.config_words import Place, Secret
from gateway.errors import ConfigError

EXAMPLE = "deploy/collector.example.toml"


_AGAIN = words.within("1 s", "1 d")


def _again(given: Any) -> Any:
    return None if given == "never" else cast("Callable[[Any], float]", _AGAIN.func)(given)


class General(Part):
    """[collector]"""

    name: Id | None = None
    """One of its own for each collector: the broker keeps what waits for it under this name."""
    group: Id = "collectors"
    data: str | None = None
    """Where what can never be written is set aside."""
    offline_s: Annotated[float, words.within("10 s", "30 d")] = Field(600.0, alias="offline_after")
    """A station from which nothing came for so long counts as away."""
    again_s: Annotated[float | None, BeforeValidator(_again)] = Field(600.0, alias="again")
    """A station is asked once more for what is missing for so long; None: never."""


class Mqtt(Part):
    """[mqtt]"""

    url: Annotated[str, words.url("mqtt", "mqtts")]
    username: str | None = None
    password: Secret | None = None
    ca: words.File | None = None
    certificate: words.File | None = None
    key: words.KeyFile | None = None
    session_s: Annotated[float, words.within("1 min", "365 d")] = Field(7 * 86400.0, alias="session")
    window: Annotated[int, Field(ge=1, le=65535)] = 10_000


class Web(Part):
    """[web]: a page to look at. It has no password, so none can be given."""

    listen: Annotated[tuple[str, int], BeforeValidator(words.listen)] = ("127.0.0.1", 8080)


_SECTIONS: dict[str, type[Part]] = {"collector": General, "mqtt": Mqtt, "influxdb": Database, "web": Web}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A collector as its file describes it. Secrets are read; paths are absolute."""

    name: str
    group: str
    data: Path
    offline_s: float
    again_s: float | None
    mqtt: Mqtt
    influxdb: Database
    web: Web | None
    warnings: tuple[str, ...] = ()


def load(path: Path, *, environment: Mapping[str, str] | None = None) -> Wanted:
    """Read and check a collector.toml, and the secrets it names. Raises ConfigError, a line a mistake."""
    from gateway.config import data_folder, read_toml

    data = read_toml(path, EXAMPLE)
    folder = path.absolute().parent
    place = Place(folder, os.environ if environment is None else environment)
    lines: list[str] = []
    parts: dict[str, Part] = {}
    for section, given in data.items():
        kind = _SECTIONS.get(section)
        if kind is None:
            lines.append(f"{path.name}: {section}: there is no such section{mean(section, _SECTIONS)}")
        elif not isinstance(given, dict):
            lines.append(f"{path.name}: {section}: stands once; write [{section}] with one pair of brackets")
        else:
            part = _part(kind, section, given, place, path.name, lines)
            if part is not None:
                parts[section] = part
    for section in ("mqtt", "influxdb"):
        if section not in data:
            lines += [f"{path.name}: {section}: is missing; add [{section}] with url = …, see {EXAMPLE}"]
    general = cast(General, parts.get("collector") or General.model_validate({}))
    mqtt, influxdb = cast(Mqtt | None, parts.get("mqtt")), cast(Database | None, parts.get("influxdb"))
    if influxdb is not None:
        lines += [f"{path.name}: influxdb.{line}" for line in _lacks(influxdb)]
    if mqtt is not None and (mqtt.certificate is None) != (mqtt.key is None):
        lines.append(f"{path.name}: mqtt: certificate and key go together; one of them is missing")
    if lines or mqtt is None or influxdb is None:
        raise ConfigError(lines)
    return Wanted(
        name=general.name or _host(),
        group=general.group,
        data=data_folder(general.data, folder, place.environment, "suuaba-collect"),
        offline_s=general.offline_s,
        again_s=general.again_s,
        mqtt=mqtt,
        influxdb=influxdb,
        web=cast(Web | None, parts.get("web")),
        warnings=tuple(place.warnings),
    )


def _part(
    kind: type[Part], section: str, given: dict[str, Any], place: Place, file: str, lines: list[str]
) -> Part | None:
    try:
        return kind.model_validate(given, context=place)
    except ValidationError as e:
        mistakes = from_pydantic(e, section, None, given, kind)
        lines += [mistake.line(file, {section: given}) for mistake in mistakes]
        return None


def _lacks(influxdb: Database) -> list[str]:
    if influxdb.version == 1:
        return [] if influxdb.database else ['database: is missing; version 1 needs database = "…"']
    if not (influxdb.bucket or influxdb.database):
        return [f'bucket: is missing; version {influxdb.version} needs bucket = "…"']
    if influxdb.version == 2 and not influxdb.org:
        return ['org: is missing; version 2 needs org = "…"']
    return [] if influxdb.token else ['token: is missing; write token = { file = "influxdb.token" }']


def _host() -> str:
    plain = "".join(c if c.isalnum() and c.isascii() else "-" for c in socket.gethostname()).strip("-")
    return plain[:64] or "collector"
