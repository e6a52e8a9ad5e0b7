"""The words of station.toml: durations, sizes, rates, budgets, times of day, phone numbers, ports and
secrets.

    "10 s" · "2 min" · "400 d"     → seconds          "0.5 / 1 min"          → Rate(0.5, 60)
    "1 GB" · "200 MB"              → bytes            "20 MB / 30 d"         → Rate(20e6, 2592000)
    "22:00"                        → minutes          "200 segments / 30 d"  → Rate(200, 2592000)
    { file = "mqtt.password" }     → the secret, which neither a log nor a traceback shows

Every function takes what stands in the file and raises ValueError with "what is wrong; what is allowed".
This is the one door to secrets and to the environment.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, SecretStr, ValidationInfo

from gateway.config_station import Rate as Rate

FILE_HEAD = 4096
SECRET_LIMIT = 4096
"""Bytes a secret may have: a token has 90, a URL with everything in it a few hundred."""

_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MEANT = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "m": "min", "mins": "min", "minute": "min",
          "minutes": "min", "hr": "h", "hour": "h", "hours": "h", "day": "d", "days": "d"}  # fmt: skip
_UNITS_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_AMOUNT = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a station.toml lies and what surrounds it: what is needed to find its secrets."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    section: str = ""
    warnings: list[str] = field(default_factory=list)


# ── numbers with units
# ──────────────────────────────────────────────────────────────────────────────────────────────


def duration(given: Any) -> float:
    """Seconds of "10 s", "2 min", "400 d"."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        raise ValueError(f'{given} has no unit; write "{given} s", or ms, min, h, d')
    number, unit = _amount(given, 'a duration such as "10 s", "2 min" or "400 d"')
    if not unit:
        raise ValueError(f'{shown(given)} has no unit; write "{number:g} s", or ms, min, h, d')
    if unit not in _UNITS_S:
        meant = _MEANT.get(unit.lower()) or (unit.lower() if unit.lower() in _UNITS_S else "")
        raise ValueError(
            f"{shown(given)} has no unit that is known; allowed are ms, s, min, h, d"
            + (f'; did you mean "{number:g} {meant}"?' if meant else "")
        )
    return number * _UNITS_S[unit]


def size(given: Any) -> int:
    """Bytes of "1 GB"; 1 GB is 10⁹ bytes, as on the label of a card."""
    number, unit = _amount(given, 'a size such as "1 GB" or "200 MB"')
    known = {name.lower(): factor for name, factor in _UNITS_BYTES.items()}
    if unit.lower() not in known:
        raise ValueError(f'{shown(given)} is no size; allowed are B, KB, MB, GB, as in "1 GB"')
    return int(number * known[unit.lower()])


def rate(given: Any) -> Rate:
    """A change in a time: "0.5 / 1 min"."""
    amount, per_s = _fraction(given, 'a change in a time such as "0.5 / 1 min"')
    number, unit = _amount(amount, 'a change in a time such as "0.5 / 1 min"')
    if unit or number <= 0:
        raise ValueError(
            f'{shown(given)} is no change in a time; write for example "0.5 / 1 min", in the sensor\'s unit'
        )
    return Rate(number, per_s)


def data_budget(given: Any) -> Rate:
    """Bytes in a time: "20 MB / 30 d"."""
    amount, per_s = _fraction(given, 'a budget such as "20 MB / 30 d"')
    return Rate(float(size(amount)), per_s)


def segment_budget(given: Any) -> Rate:
    """SMS segments in a time: "200 segments / 30 d"."""
    amount, per_s = _fraction(given, 'a budget such as "200 segments / 30 d"')
    number, unit = _amount(amount, 'a budget such as "200 segments / 30 d"')
    if unit not in ("segments", "segment") or number != int(number):
        raise ValueError(f'{shown(given)} is no budget; write for example "200 segments / 30 d"')
    return Rate(number, per_s)


def within(low: str, high: str) -> BeforeValidator:
    """A duration of at least `low` and at most `high`."""
    low_s, high_s = duration(low), duration(high)

    def check(given: Any) -> float:
        asked_s = duration(given)
        if not low_s <= asked_s <= high_s:
            raise ValueError(f"{shown(given)} is out of range; allowed {low}…{high}")
        return asked_s

    return BeforeValidator(check)


def between(low: str, high: str) -> BeforeValidator:
    """A size of at least `low` and at most `high`."""
    low_bytes, high_bytes = size(low), size(high)

    def check(given: Any) -> int:
        asked = size(given)
        if not low_bytes <= asked <= high_bytes:
            raise ValueError(f"{shown(given)} is out of range; allowed {low}…{high}")
        return asked

    return BeforeValidator(check)


def number(low: float, high: float) -> BeforeValidator:
    """A number of at least `low` and at most `high`."""

    def check(given: Any) -> Any:
        if isinstance(given, bool) or not isinstance(given, int | float):
            return given  # the type's own message is clearer
        if not low <= given <= high:
            raise ValueError(slip(given, low, high))
        return given

    return BeforeValidator(check)


def slip(given: float, low: float, high: float) -> str:
    """The words for a number out of range: one digit too many is the usual slip, so that is looked for."""
    digits = str(given)
    shorter = {digits[:i] + digits[i + 1 :] for i in range(len(digits))} if digits.isdigit() else set()
    meant = {int(s) for s in shorter if s and s[0] != "0" and low <= int(s) <= high}
    hint = f"; did you mean {meant.pop()}?" if len(meant) == 1 else ""
    return f"{given} is out of range; allowed {low:.10g}…{high:.10g}{hint}"


def ascending(given: Any) -> tuple[float, float]:
    """Two numbers, the lower one first: [5, 9.5]."""
    if (
        not isinstance(given, list)
        or len(given) != 2
        or any(isinstance(x, bool) or not isinstance(x, int | float) for x in given)
    ):
        raise ValueError(f"{shown(given)} is no pair of numbers; write [lower, upper]")
    if not given[0] < given[1]:
        raise ValueError(f"{shown(given)} is the wrong way round; write [lower, upper]")
    return float(given[0]), float(given[1])


def time_of_day(given: Any) -> int:
    """Minutes after midnight of "22:00"."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", given) if isinstance(given, str) else None
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f'{shown(given)} is no time of day; write for example "22:00"')
    return int(found[1]) * 60 + int(found[2])


def phone(given: Any) -> str:
    """A phone number in international form: "+996555000001". Spaces and dashes are dropped."""
    plain = re.sub(r"[ \-()]", "", given) if isinstance(given, str) else ""
    if not re.fullmatch(r"\+[1-9]\d{6,14}", plain):
        raise ValueError(
            f'{shown(given)} is no phone number; write it with + and country code: "+996555000001"'
        )
    return plain


# ── ports and addresses on the network
# ──────────────────────────────────────────────────────────────────────────────


def port(given: Any) -> str:
    """A serial port or a TCP one, as drivers.link knows them."""
    allowed = "allowed are /dev/…, tcp://HOST:PORT and rtu+tcp://HOST:PORT"
    if not isinstance(given, str) or not given:
        raise ValueError(f"{shown(given)} is no port; {allowed}")
    if "://" in given:
        scheme, _, _ = given.partition("://")
        if scheme not in ("tcp", "rtu+tcp"):
            raise ValueError(f"{shown(given)}: {scheme}:// cannot be used as a port; {allowed}")
        parts = _split(given, allowed)
        if scheme == "rtu+tcp" and parts.port is None:
            raise ValueError(f"{shown(given)} names no TCP port; write for example {given.rstrip('/')}:4001")
    elif not given.startswith("/"):
        hint = f'; did you mean "/dev/{given}"?' if given.startswith("tty") else ""
        raise ValueError(f"{shown(given)} is no port; {allowed}{hint}")
    return given


def url(*schemes: str, words: tuple[str, ...] = ()) -> BeforeValidator:
    """A URL with one of these schemes, or one of these words; without a password in it."""
    allowed = "allowed are " + ", ".join([f"{s}://HOST:PORT" for s in schemes] + [f'"{w}"' for w in words])

    def check(given: Any) -> str:
        if given in words:
            return str(given)
        if not isinstance(given, str) or "://" not in given:
            raise ValueError(f"{shown(given)} is no address; {allowed}")
        if given.partition("://")[0] not in schemes:
            raise ValueError(f"{shown(given)}: {given.partition('://')[0]}:// cannot be used here; {allowed}")
        parts = _split(given, allowed)
        if parts.username or parts.password:
            raise ValueError('has a name or password in it; use username = "…" and password = { file = "…" }')
        return given.rstrip("/")

    return BeforeValidator(check)


def listen(given: Any) -> tuple[str, int]:
    """Where the page listens: "0.0.0.0:8080"."""
    host, _, tcp_port = given.rpartition(":") if isinstance(given, str) else ("", "", "")
    if not host or not tcp_port.isdigit() or not 0 < int(tcp_port) < 65536:
        raise ValueError(f'{shown(given)} is no address to listen at; write for example "0.0.0.0:8080"')
    return host.strip("[]"), int(tcp_port)


# ── secrets
# ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_secret(given: Any, info: ValidationInfo) -> SecretStr:
    """Read { file = "…" } or { env = "…" }. What the secret is never comes into a message."""
    place = cast(Place, info.context)
    name = f"{place.section}.{info.field_name}"
    ways = f'{{ file = "{name}" }} or {{ env = "{name.replace(".", "_").upper()}" }}'
    if isinstance(given, str):
        raise ValueError(
            f"a secret does not belong in this file; put it into secrets/{name} (chmod 600), write {ways}"
        )
    if (
        not isinstance(given, dict)
        or len(given) != 1
        or not all(isinstance(v, str) and v for v in given.values())
    ):
        raise ValueError(f"is not understood; write {ways}")
    [(way, where)] = given.items()
    if way == "env":
        if not place.environment.get(where):
            raise ValueError(f"the environment variable {where} is not set; set it, or write {{ file = … }}")
        return SecretStr(place.environment[where])
    if way != "file":
        raise ValueError(f"{way!r} is no way to give a secret; write {ways}")
    return SecretStr(_secret_from(where, place))


Secret = Annotated[SecretStr, BeforeValidator(read_secret)]


def read_file(given: Any, info: ValidationInfo) -> str:
    """The absolute path of a file that can be read: as it stands there, or where secrets are looked for."""
    if not isinstance(given, str) or not given:
        raise ValueError(f"{shown(given)} is no file; write its name in quotes")
    for file in _candidates(given, cast(Place, info.context)):
        if os.access(file, os.R_OK) and file.is_file():
            return str(file.absolute())
    raise ValueError(f"{shown(given)} cannot be read; put the file there, or take the key out")


File = Annotated[str, BeforeValidator(read_file)]
"""A certificate, an authority: a file that a library reads by its name."""


def read_key(given: Any, info: ValidationInfo) -> str:
    """The same for a private key. One that waits for a passphrase is refused: nobody is there to type it."""
    file = read_file(given, info)
    with open(file, "rb") as stream:
        encrypted = b"ENCRYPTED" in stream.read(FILE_HEAD)  # RFC 7468, 11, and the older form of RFC 1421
    if encrypted:
        plain = f"openssl pkey -in {shown(given)} -out …"
        raise ValueError(
            f"{shown(given)} wants a passphrase, and nobody is there to type it; take it off: {plain}"
        )
    return file


KeyFile = Annotated[str, BeforeValidator(read_key)]


def _candidates(where: str, place: Place) -> list[Path]:
    """Where a file is looked for: systemd's credentials, the folder secrets, beside station.toml."""
    if Path(where).is_absolute():
        return [Path(where)]
    candidates = [place.folder / "secrets" / where, place.folder / where]
    credentials = place.environment.get("CREDENTIALS_DIRECTORY")
    if credentials:
        # LoadCredential=secrets:FOLDER hands a folder's files over as secrets_NAME (systemd.exec(5))
        candidates[:0] = [Path(credentials) / where, Path(credentials) / f"secrets_{where}"]
    return candidates


def _secret_from(where: str, place: Place) -> str:
    candidates = _candidates(where, place)
    for file in candidates:
        try:
            mode = file.stat().st_mode
            with file.open("rb") as stream:
                content = stream.read(SECRET_LIMIT + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as e:
            reason = getattr(e, "strerror", None) or str(e)
            raise ValueError(
                f"{file} cannot be read: {reason}; give the station's user the right to read it"
            ) from None
        if stat.S_IMODE(mode) & 0o007:
            place.warnings.append(f"{file}: everybody on this machine may read this secret; chmod o= {file}")
        try:
            secret = content.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"{file} is not text; write the secret into it as one line") from None
        if not secret or len(content) > SECRET_LIMIT:
            raise ValueError(
                f"{file} is {'empty' if not secret else 'too long'}; write the secret into it as one line"
            )
        return secret
    raise ValueError(
        f"the secret is missing; write it into {candidates[-2 if len(candidates) > 1 else 0]} (chmod 600)"
    )


# ── inside
# ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def shown(given: Any) -> str:
    """What stands in the file, short enough for one line."""
    text = f'"{given}"' if isinstance(given, str) else str(given).replace("'", '"')
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:59] + "…"


def _amount(given: Any, wanted: str) -> tuple[float, str]:
    found = _AMOUNT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError(f"{shown(given)} is not {wanted}")
    return float(found[1]), found[2]


def _fraction(given: Any, wanted: str) -> tuple[str, float]:
    amount, slash, per = given.partition("/") if isinstance(given, str) else ("", "", "")
    if not slash:
        raise ValueError(f"{shown(given)} is not {wanted}")
    try:
        per_s = duration(per)
    except ValueError:
        per_s = 0.0
    if per_s <= 0:
        raise ValueError(f"{shown(given)} is not {wanted}")
    return amount, per_s


def _split(given: str, allowed: str) -> SplitResult:
    try:
        parts = urlsplit(given)
        tcp_port = parts.port
    except ValueError:
        raise ValueError(f"{shown(given)} is no address; {allowed}") from None
    if not parts.hostname or tcp_port == 0:
        raise ValueError(f"{shown(given)} names no host; {allowed}")
    return parts
