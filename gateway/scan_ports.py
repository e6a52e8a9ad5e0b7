"""Which ports a scan looks at, and who has them. Opens nothing; reads /dev and /proc."""

from __future__ import annotations

import os
from pathlib import Path

KINDS = ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttyS*", "ttyXR*", "ttymxc*", "ttySC*")
DEV = Path("/dev")
SYS = Path("/sys/class/tty")


def serial_ports(dev: Path = DEV, sys: Path = SYS) -> list[str]:
    """Every serial port by its most lasting name: by-path, then by-id, then its own.

    A /dev/ttyS that stands for no hardware (driver serial8250 lists many) is left out.
    """
    names: dict[str, str] = {}
    for folder in ("by-path", "by-id"):
        for link in sorted((dev / "serial" / folder).glob("*")):
            names.setdefault(os.path.realpath(link), str(link))
    for kind in KINDS:
        for port in sorted(dev.glob(kind)):
            if port.name.startswith("ttyS") and port.name[4:].isdigit() and not _is_real(sys / port.name):
                continue
            names.setdefault(os.path.realpath(port), str(port))
    return sorted(names.values())


def folder_ports(folder: Path) -> list[str]:
    """The ports that a folder has links to, as `suuaba simulate` makes one. Raises OSError."""
    return sorted(
        str(file) for file in folder.iterdir() if file.is_symlink() and os.path.realpath(file)[:5] == "/dev/"
    )


def holder(port: str) -> str:
    """The programs that have a port open, or "". Blocks some milliseconds. Raises OSError."""
    if "://" in port:
        return ""
    from gateway.doctor_ports import look  # which reads station.toml's types: not for a running station (D12)

    return ", ".join(f"{name} (process {pid})" for pid, name in look(port).holders)


def _is_real(entry: Path) -> bool:
    """Whether a ttyS has hardware: its type is not 0 (linux/serial_core.h, PORT_UNKNOWN)."""
    try:
        return (entry / "type").read_text(encoding="ascii").strip() != "0"
    except OSError:
        return False
