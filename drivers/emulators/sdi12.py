"""An emulated SDI-12 sensor: answers who it is. Written after the SDI-12 standard, version 1.4, 4.4.

A pseudo-terminal has neither break nor parity, so neither can be missing here: what wakes a real sensor is
not emulated. Two sensors that answer one `?!` speak at once, as on a real wire.
"""

from __future__ import annotations

import re

from drivers.emulators.base import Answer

LINE_AT_MOST = 32


class Sdi12Sensor:
    """`identity` is what follows the address and "13": vendor (8), model (6), version (3), and more (13).

    `echo`: a level shifter on one wire hears itself. `heard` has every command.
    """

    def __init__(
        self, address: str = "0", identity: str = "SUU-ABA EMU12 1.0007", *, name: str = "sdi12"
    ) -> None:
        self.name = name
        self.address = address
        self.identity = identity
        self.heard: list[bytes] = []
        self._got = b""

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        """Answer every whole command that is for this address, or for anybody."""
        answers = []
        self._got = (self._got + data)[-LINE_AT_MOST:]
        self._got = re.split(rb"[^!-~]", self._got)[-1]  # what is no text is noise to it
        while (end := self._got.find(b"!")) >= 0:
            command, self._got = self._got[: end + 1], self._got[end + 1 :]
            self.heard.append(command)
            text = command.decode("ascii", "replace")
            if text in ("?!", f"{self.address}!"):
                answers.append(Answer(f"{self.address}\r\n".encode(), 0.009))
            elif text == f"{self.address}I!":
                answers.append(Answer(f"{self.address}13{self.identity}\r\n".encode(), 0.009))
        return answers

    def due_s(self, now_s: float) -> float | None:
        return None

    def speak(self, now_s: float) -> list[Answer]:
        return []
