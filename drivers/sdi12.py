"""SDI-12: who hangs on the wire. A scan names such sensors; no driver reads their numbers yet.

Source: SDI-12 Support Group, "A Serial-Digital Interface Standard for Microprocessor-Based Sensors", version
1.4 (2019-01-10), chapter 4; not tried on a real sensor yet.

    who is there      ?!    → 0<CR><LF>                                        one sensor alone on its wire
    who are you       0I!   → 013SOLINST M20   1001.000…<CR><LF>
                              ││ └──────┤└────┤└─┤└─ up to 13 more: serial number
                              ││  vendor│model│version
                              │└ 13: SDI-12 version 1.3
                              └ address: 0-9, A-Z, a-z

1200 baud, 7 data bits, even parity, 1 stop bit. A break of 12 ms and a mark of 8.33 ms wake the sensors; one
answers within 15 ms. The wire is one, inverted, 0 to 5 V: a level shifter at a serial port does it, with the
break made here, or an adapter that makes break and parity by itself and speaks 8N1 to the host.
"""

from __future__ import annotations

import re

from drivers.link import Line

WIRE = Line(1200, "7E1")
ADAPTERS = (Line(9600, "8N1"), Line(115200, "8N1"))
"""How adapters that make the break themselves speak to the host: makers choose, these are usual."""
BREAK_S, MARK_S = 0.013, 0.009
WITHIN_S = 0.4
"""15 ms until the first character, and 35 characters of 8.33 ms."""
ADAPTER_WITHIN_S = 1.0
"""An adapter may ask three times before it gives up."""
ANYBODY = b"?!"
ADDRESSES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_READS = re.compile(rb"\?!|[0-9A-Za-z]I!")
_IDENTITY = re.compile(rb"([0-9A-Za-z])(\d\d)([ -~]{8})([ -~]{6})([ -~]{3})([ -~]{0,13})\r\n")
_ADDRESS = re.compile(rb"([0-9A-Za-z])\r\n")


def who(address: str) -> bytes:
    """The question for its identification."""
    return f"{address}I!".encode("ascii")


def is_read(data: bytes) -> bool:
    """Whether a command only asks: `aAb!` changes an address, `aM!` begins a measurement."""
    return _READS.fullmatch(data) is not None


def address(got: bytes) -> str | None:
    """The address in the answer to `?!`; None where there is none, or more than one answered."""
    found = _ADDRESS.fullmatch(got[-3:]) if len(got) <= 4 else None
    return found[1].decode("ascii") if found else None


def identity(got: bytes, of: str) -> dict[str, str] | None:
    """What the sensor at this address says of itself; None for anything else."""
    found = _IDENTITY.search(got)
    if found is None or found[1].decode("ascii") != of:
        return None
    version, maker, model, firmware, serial = (part.decode("ascii").strip() for part in found.groups()[1:])
    said = {
        "protocol": f"SDI-12 {version[0]}.{version[1]}", "sdi12_address": of, "maker": maker, "model": model,
        "firmware": firmware, "serial": serial,
    }  # fmt: skip
    return {name: text for name, text in said.items() if text}
