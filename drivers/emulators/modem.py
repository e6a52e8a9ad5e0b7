"""A GSM modem with a SIM, and the network behind it: AT commands in PDU mode, as gammu and we use them.

    > AT+CMGS=19\\r                            < \\r\\n>·                 (the prompt: 3E 20)
    > 0031000C91…\\x1a                         < \\r\\n+CMGS: 7\\r\\n\\r\\nOK\\r\\n

What was handed over is in `sent`, whole messages in the order in which their last part came. `plan` takes
what shall go wrong with the next sends; the attributes below are the states of a SIM, a network and a store.
Answers come at once; the network takes `network_s` for each part, and any character that comes meanwhile
aborts it (`interrupted` counts these), as makers' manuals warn.

Sources: 3GPP TS 27.005, 3 (SMS commands), 3GPP TS 27.007, 5, 7 and 8 (general, network, SIM), ITU-T V.250
(ATE, line ends). Which of them gammu cannot do without was found by refusing each in turn (gammu 1.42).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from drivers.emulators.base import Answer
from drivers.emulators.modem_network import EmulatedSms, SimAndNetwork
from drivers.emulators.sms import BadPdu, read_submit

__all__ = ["EmulatedSms", "ModemEmulator"]

CR, ESC, CTRL_Z = 0x0D, 0x1B, 0x1A
LINE_LIMIT = 800
"""Characters of one command or PDU; what is longer is answered ERROR."""

BOOT = b"\r\nRDY\r\n\r\n+CFUN: 1\r\n"
VERBOSE = {
    3: "operation not allowed",
    10: "SIM not inserted",
    11: "SIM PIN required",
    12: "SIM PUK required",
    16: "incorrect password",
}
ABOUT = {
    "+CGMI": "SUU-ABA", "+CGMM": "EMULATED MODEM", "+CGMR": "1.0", "+CGSN": "351111111111110",
    "+CIMI": "437010000000001", "I": "SUU-ABA EMULATED MODEM",
    "+GMI": "SUU-ABA", "+GMM": "EMULATED MODEM", "+GSN": "351111111111110",
}  # fmt: skip


class Final(Exception):
    """Ends a command line with `data` instead of OK: an error, the prompt, a restart."""

    def __init__(self, data: bytes = b"\r\nERROR\r\n") -> None:
        super().__init__(data)
        self.data = data


class ModemEmulator(SimAndNetwork):
    """An emulated modem. See the module's docstring; every public attribute may be set while it runs."""

    def __init__(
        self,
        name: str = "modem",
        *,
        network_s: float = 0.05,
        on_sms: Callable[[EmulatedSms], None] | None = None,
    ) -> None:
        super().__init__(on_sms)
        self.name = name
        self.network_s = network_s
        self.knows_cpinr = True
        self.smsc = "+996555000000"
        self.registered = True
        self.signal = 18
        self.operator = "BEELINE KG"
        self.offers_ds = (0, 1, 2)
        self.refuse_echo_off = False
        self.network_clock: Callable[[], str] | None = None
        """What AT+CCLK? gives, without quotes; None: ERROR."""
        self.garbage = b""
        """Put in front of every answer."""
        self.deaf_until = ""
        """"" hears; "reset" obeys nothing but AT+CFUN=1,1; "power" nothing before `power_cycle`."""
        self.interrupted = 0
        self.refused: list[str] = []
        """Why PDUs were answered +CMS ERROR: 304."""
        self.commands: deque[str] = deque(maxlen=1000)
        self.resets = 0
        self._faults: deque[str] = deque()
        self._mr = 0
        self._pending = 0
        self._start()

    def plan(self, *faults: str) -> None:
        """What shall go wrong, one for each of the next parts that are submitted ("ok": nothing).

        "cms 38", "cme 30", "error": refused after the PDU. "cms 302 first": before it. "no prompt".
        "silence": nothing is sent or said. "silence sent": sent, nothing said. "late 100": sent and said
        after 100 s, whatever is written meanwhile. "reset": it starts anew, nothing is sent. "reset sent".
        """
        self._faults += faults

    def say(self, line: str) -> None:
        """The modem says a line by itself."""
        self._from_outside(lambda _: f"\r\n{line}\r\n".encode())

    def power_cycle(self) -> None:
        """The power goes off and on: everything in hand is lost, the store and the SIM stay."""
        self.deaf_until = ""
        self._from_outside(lambda _: self._restart())

    # ── the emulator's interface ────────────────────────────────────────────────────────────────────────────

    def feed(self, data: bytes, now_s: float) -> list[Answer]:
        out = b"".join(self._take(byte, now_s) for byte in data)
        return [Answer(out)] if out else []

    def due_s(self, now_s: float) -> float | None:
        if self._outside:
            return now_s
        return self._later[0][0] if self._later else None

    def speak(self, now_s: float) -> list[Answer]:
        out = b""
        while self._outside:
            out += self._outside.popleft()(now_s)
        while (act := self._next(now_s)) is not None:
            out += act(now_s)
        return [Answer(out, asked=False)] if out else []

    # ── bytes and lines ─────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        self._buffer = bytearray()
        self._held = bytearray()  # written while a slow network holds the modem: read afterwards
        self._echo = True
        self._cmee = 0
        self._pdu_length: int | None = None  # waiting for a PDU of so many octets
        self._drop(self._pending)
        self._pending = 0  # the scheduled result of a send, by its count
        self._held_up = False
        self._forget_settings()

    def _restart(self) -> bytes:
        self.resets += 1
        self._start()
        pin = f"\r\n+CPIN: {'READY' if self._ready() else 'SIM PIN'}\r\n".encode() if self.sim else b""
        return BOOT + pin

    def _take(self, byte: int, now_s: float) -> bytes:
        if self.deaf_until == "power":
            return b""
        if self._held_up:
            if len(self._held) < LINE_LIMIT:
                self._held.append(byte)
            return b""
        if self._pending:  # any character aborts a send that the network has not yet confirmed
            self.interrupted += 1
            self._drop(self._pending)
            self._pending = 0
        if byte == ESC:
            was_pdu = self._pdu_length is not None
            self._buffer.clear()
            self._pdu_length = None
            return b"\r\nOK\r\n" if was_pdu else b""
        echo = bytes((byte,)) if self._echo and not self.deaf_until else b""
        if byte != (CR if self._pdu_length is None else CTRL_Z):
            if byte >= 0x20 and len(self._buffer) < LINE_LIMIT:
                self._buffer.append(byte)
            return echo
        line = self._buffer.decode("ascii", "replace").strip()
        self._buffer.clear()
        try:
            return echo + (self._line(line, now_s) if self._pdu_length is None else self._submit(line, now_s))
        except Final as e:
            return echo + self.garbage + e.data

    def _line(self, line: str, now_s: float) -> bytes:
        if not line.upper().startswith("AT"):
            return b""
        self.commands.append(line)
        if self.deaf_until:
            if line.upper() != "AT+CFUN=1,1":
                return b""
            self.deaf_until = ""
        said = [self._command(c.strip()) for c in re.findall(r'(?:[^;"]|"[^"]*")+', line[2:])]
        return self.garbage + b"".join(f"\r\n{s}\r\n".encode() for s in said if s) + b"\r\nOK\r\n"

    # ── commands ────────────────────────────────────────────────────────────────────────────────────────────

    def _command(self, command: str) -> str:
        """The information a command gives, without OK. Raises Final."""
        found = re.fullmatch(r"(\+?[A-Za-z&]+?)(=\?|=|\?)?((?<=[=])[^?].*|\d.*)?", command)
        if found is None:
            raise Final
        name, kind, value = found[1].upper(), found[2] or "", found[3] or ""
        if name in ABOUT and not kind:
            if name == "+CIMI":
                self._need_sim()
            return ABOUT[name]
        for names, handler in (
            (("E", "Z", "V", "Q", "&F", "+CMEE", "+CFUN", "+CSCS", "+CBC", "+CTZU", "+CCLK"), self._general),
            (("+CPIN", "+CPINR"), self._pin),
            (("+CSQ", "+CREG", "+CGREG", "+CEREG", "+COPS"), self._network),
            (("+CMGF", "+CSCA", "+CNMI", "+CSMS", "+CPMS"), self._sms_settings),
            (("+CMGS", "+CMGL", "+CMGR", "+CMGD"), self._sms),
        ):
            if name in names:
                return handler(name, kind, value)
        raise Final

    def _fail(self, cme: int) -> Final:
        if self._cmee == 0:
            return Final()
        return Final(
            f"\r\n+CME ERROR: {cme if self._cmee == 1 else VERBOSE.get(cme, 'unknown')}\r\n".encode()
        )

    def _need_sim(self, *, sms: bool = False) -> None:
        if self._ready():
            return
        missing, locked = (310, 311) if sms else (10, 11)
        code = missing if not self.sim else locked
        raise Final(f"\r\n+CMS ERROR: {code}\r\n".encode()) if sms else self._fail(code)

    def _general(self, name: str, kind: str, value: str) -> str:
        if name == "E":
            if value == "0" and self.refuse_echo_off:
                raise Final
            self._echo = value != "0"
        elif name == "+CMEE":
            if kind == "?":
                return f"+CMEE: {self._cmee}"
            self._cmee = int(value) if value in ("0", "1", "2") else 0
        elif name == "+CFUN" and value == "1,1":
            raise Final(b"\r\nOK\r\n" + self._restart())
        elif name == "+CFUN" and kind == "?":
            return "+CFUN: 1"
        elif name == "+CSCS" and kind:
            return '+CSCS: ("GSM")' if kind == "=?" else '+CSCS: "GSM"' if kind == "?" else ""
        elif name == "+CBC":
            return "+CBC: 0,100"
        elif name == "+CCLK":
            if self.network_clock is None or kind != "?":
                raise Final
            return f'+CCLK: "{self.network_clock()}"'
        return ""

    def _pin(self, name: str, kind: str, value: str) -> str:
        if not self.sim:
            raise self._fail(10)
        if name == "+CPINR":
            if not self.knows_cpinr:
                raise Final
            return f"+CPINR: SIM PIN,{self.tries_left},3"
        if kind == "?":
            state = "READY" if self._ready() else "SIM PIN" if self.tries_left else "SIM PUK"
            return f"+CPIN: {state}"
        if self._ready():
            raise self._fail(3)
        if not self.tries_left:
            raise self._fail(12)
        if value.strip('"') != self.pin:
            self.tries_left -= 1
            raise self._fail(16 if self.tries_left else 12)
        self.tries_left = 3
        self._unlocked = True
        raise Final(b"\r\nOK\r\n\r\n+CPIN: READY\r\n")

    def _network(self, name: str, kind: str, value: str) -> str:
        if name == "+CSQ":
            return f"+CSQ: {self.signal if self.registered else 99},99"
        if name == "+COPS":
            return (
                f'+COPS: 0,0,"{self.operator}"'
                if self.registered and kind == "?"
                else "+COPS: 0"
                if kind == "?"
                else ""
            )
        return f"{name}: 0,{1 if self.registered and self._ready() else 2}" if kind == "?" else ""

    def _sms_settings(self, name: str, kind: str, value: str) -> str:
        if name == "+CMGF":
            if value == "1":
                raise Final(b"\r\n+CMS ERROR: 303\r\n")  # text mode is not emulated
            return {"?": "+CMGF: 0", "=?": "+CMGF: (0)"}.get(kind, "")
        self._need_sim(sms=True)
        if name == "+CSCA":
            if kind == "?":
                return f'+CSCA: "{self.smsc}",{145 if self.smsc else 129}'
            self.smsc = value.split(",")[0].strip('"')
        elif name == "+CSMS":
            return "+CSMS: 0,1,1,1" if kind == "?" else "+CSMS: 1,1,1"
        elif name == "+CNMI":
            if kind == "=?":
                return f"+CNMI: (0-2),(0-1),(0),(0-{self.offers_ds[-1]}),(0)"
            if kind == "?":
                return "+CNMI: " + ",".join(map(str, self._cnmi))
            wanted = [int(v or 0) for v in value.split(",")]
            if len(wanted) > 5 or wanted[1:2] > [1] or (wanted[3:4] and wanted[3] not in self.offers_ds):
                raise Final(b"\r\n+CMS ERROR: 302\r\n")
            self._cnmi[: len(wanted)] = wanted
        elif name == "+CPMS":
            return self._memories(kind, value)
        return ""

    def _memories(self, kind: str, value: str) -> str:
        if kind == "=?":
            return '+CPMS: ("SM","ME"),("SM","ME"),("SM","ME")'
        used = [f"{len(self.store[m])},{self.capacity[m]}" for m in self._memory]
        if kind == "?":
            return "+CPMS: " + ",".join(f'"{m}",{u}' for m, u in zip(self._memory, used, strict=True))
        wanted = [m.strip('"') for m in value.split(",")]
        if len(wanted) > 3 or any(m not in self.store for m in wanted):
            raise Final(b"\r\n+CMS ERROR: 302\r\n")
        self._memory[: len(wanted)] = wanted
        return "+CPMS: " + ",".join(f"{len(self.store[m])},{self.capacity[m]}" for m in self._memory)

    # ── messages ────────────────────────────────────────────────────────────────────────────────────────────

    def _sms(self, name: str, kind: str, value: str) -> str:
        self._need_sim(sms=True)
        store = self.store[self._memory[0]]
        if kind == "=?":
            return {"+CMGL": "+CMGL: (0-4)", "+CMGD": "+CMGD: (1-50),(0-4)"}.get(name, "")
        first, _, flag = value.partition(",")
        number = int(first) if first.isdigit() else 0
        if name == "+CMGS":
            self._prompt(number)
        if name == "+CMGL":
            shown = [(i, p) for i, p in sorted(store.items()) if number == 4 or p.status == number]
            lines = [
                f"+CMGL: {i},{p.status},,{len(p.pdu) - 1 - p.pdu[0]}\r\n{p.pdu.hex().upper()}"
                for i, p in shown
            ]
            for _, p in shown:
                p.status = 1
            return "\r\n".join(lines)
        if name == "+CMGD" and flag == "4":
            store.clear()
        elif number not in store:
            raise Final(b"\r\n+CMS ERROR: 321\r\n")
        elif name == "+CMGD":
            del store[number]
        else:
            place = store[number]
            was, place.status = place.status, 1
            return f"+CMGR: {was},,{len(place.pdu) - 1 - place.pdu[0]}\r\n{place.pdu.hex().upper()}"
        self._room_again()
        return ""

    def _prompt(self, length: int) -> None:
        if not self.smsc:
            raise Final(b"\r\n+CMS ERROR: 330\r\n")
        fault = self._faults[0] if self._faults else ""
        if fault == "no prompt":
            self._faults.popleft()
            raise Final(b"")
        if fault.endswith(" first"):
            self._faults.popleft()
            raise Final(self._error(fault.removesuffix(" first")))
        self._pdu_length = length
        raise Final(b"\r\n> ")

    def _error(self, fault: str) -> bytes:
        kind, _, code = fault.partition(" ")
        return b"\r\nERROR\r\n" if kind == "error" else f"\r\n+{kind.upper()} ERROR: {code}\r\n".encode()

    def _submit(self, line: str, now_s: float) -> bytes:
        length, self._pdu_length = self._pdu_length, None
        fault = self._faults.popleft() if self._faults else "ok"
        try:
            octets = bytes.fromhex(line)
            tpdu = octets[octets[0] + 1 :]
            if len(tpdu) != length:
                raise BadPdu(f"AT+CMGS={length}, but {len(tpdu)} octets came")
            part = read_submit(tpdu)
        except (ValueError, IndexError) as e:
            self.refused.append(str(e))
            return b"\r\n+CMS ERROR: 304\r\n"
        if fault.startswith(("cms", "cme", "error")):
            self._pending = self._at(now_s + self.network_s, lambda _: self._answer(self._error(fault)))
            return b""
        if not self.registered:
            self._pending = self._at(
                now_s + self.network_s, lambda _: self._answer(b"\r\n+CMS ERROR: 331\r\n")
            )
            return b""
        self._mr = (self._mr + 1) % 256
        mr, wanted = self._mr, fault.endswith("sent") or fault.startswith(("ok", "late"))
        if wanted and fault != "ok" and not fault.startswith("late"):
            self._accept(part, mr, now_s)
        if fault.startswith("silence"):
            return b""
        if fault.startswith("reset"):
            return self._restart()

        def result(at_s: float) -> bytes:
            self._accept(part, mr, at_s)
            return self._answer(f"\r\n+CMGS: {mr}\r\n\r\nOK\r\n".encode())

        self._held_up = fault.startswith("late")
        delay_s = float(fault.split()[1]) if self._held_up else self.network_s
        self._pending = self._at(now_s + delay_s, result)
        return b""

    def _answer(self, data: bytes) -> bytes:
        """The result of a send; then what was written meanwhile to a modem that was held up."""
        self._pending, self._held_up = 0, False
        held, self._held = bytes(self._held), bytearray()
        if held:
            self._from_outside(lambda at_s: b"".join(self._take(byte, at_s) for byte in held))
        return self.garbage + data
