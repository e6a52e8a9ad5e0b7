"""Why a message could not be handed over, and what helps: the modem's error codes as four kinds of error.

    SmsError
    ├── SmsRetry     later may go better: the network, a busy SIM, a modem that does not answer
    ├── SmsFix       a person must do something first (SIM, PIN, message centre): `remedy` says what
    ├── SmsRefused   this message will never go: the number, the subscription, the PDU
    └── SmsUnknown   the PDU was handed over and nothing certain came back. It may have been sent

Sources of codes and meanings: 3GPP TS 27.005, 3.2.5 (300 and above; 512 and above are the maker's own); 1 to
127 are the network's RP causes, 3GPP TS 24.011, 8.2.5.4 and annex E; 128 to 255 TP failure causes, 3GPP TS
23.040, 9.2.3.22; +CME ERROR from 3GPP TS 27.007, 9.2. The numbers agree in several open-source modem
libraries. Which kind a code belongs to is nobody's standard: it is general experience and our judgement, not
measured on networks.
"""

from __future__ import annotations

from dataclasses import dataclass


class SmsError(Exception):
    """A message was not handed over, or not certainly.

    `code` is the number of +CMS ERROR or +CME ERROR (`source` "CMS" or "CME"), None where no code came.
    `part` is the part it happened to, `taken` the modem's references of the parts before it, which are sent.
    `path` names who may have sent it or took these parts, where there are several ways.
    """

    def __init__(self, meaning: str, remedy: str = "", *, source: str = "", code: int | None = None) -> None:
        super().__init__(meaning)
        self.meaning = meaning
        self.remedy = remedy
        self.source = source
        self.code = code
        self.part = 1
        self.taken: tuple[int, ...] = ()
        self.path = ""

    def __str__(self) -> str:
        code = f"+{self.source} ERROR: {self.code}, " if self.code is not None else ""
        return f"{code}{self.meaning}" + (f". {self.remedy}" if self.remedy else "")


class SmsRetry(SmsError):
    """Nothing was sent; later may go better. `tries` is a limit where more is useless."""

    tries: int | None = None


class SmsFix(SmsError):
    """Nothing was sent, and nothing will be before a person has done what `remedy` says."""


class SmsRefused(SmsError):
    """Nothing was sent, and this message never will be. Say so, and use another path."""


class SmsUnknown(SmsError):
    """It may have been sent or not. A delivery report or a late answer decides, or one marked repeat."""


UNKNOWN_TRIES = 3
"""How often a code is worth a retry that says only "unknown error" (500)."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One code: the kind of error, what it means, what helps."""

    kind: type[SmsError]
    text: str
    remedy: str = ""


_SIM = "Put a SIM in the modem, contacts towards the modem's, and restart it"
_PIN = "Give the SIM's PIN in the configuration, or switch the PIN off with a telephone"
_PUK = "Put the SIM in a telephone and enter its PUK; the modem does not do that"
_BROKEN = "Take the SIM out, clean it, try it in a telephone"
_FULL = "Delete messages from the SIM"
_SMSC = "Ask the operator for the number of its message centre and set it"
_BARRED = "Ask the operator: the SIM may not send SMS, or has no money"
_BUG = "This is a mistake in this program: report it"

CMS: dict[int, Meaning] = {
    1: Meaning(SmsRefused, "the number is not assigned", "Check the contact's number"),
    8: Meaning(SmsRefused, "the operator bars this SIM", _BARRED),
    10: Meaning(SmsRefused, "outgoing messages are barred", _BARRED),
    17: Meaning(SmsRetry, "network failure"),
    21: Meaning(SmsRefused, "the network rejected the message", _BARRED),
    22: Meaning(SmsRetry, "the network is congested, or the memory there is full"),
    27: Meaning(SmsRetry, "the destination is out of order"),
    28: Meaning(SmsRefused, "the network does not know this subscriber", _BARRED),
    29: Meaning(SmsRefused, "the network rejected the facility", _BARRED),
    30: Meaning(SmsRefused, "unknown subscriber", _BARRED),
    38: Meaning(SmsRetry, "the network is out of order"),
    41: Meaning(SmsRetry, "temporary failure of the network"),
    42: Meaning(SmsRetry, "the network is congested"),
    47: Meaning(SmsRetry, "the network has no resources left"),
    50: Meaning(SmsRefused, "SMS is not in the SIM's subscription", _BARRED),
    69: Meaning(SmsRefused, "the network does not offer SMS sending", _BARRED),
    81: Meaning(SmsRetry, "the network lost the thread of the transfer"),
    95: Meaning(SmsRefused, "the network calls the message incorrect", _BUG),
    96: Meaning(SmsRefused, "the network misses mandatory information", _BUG),
    97: Meaning(SmsRefused, "the network does not know this type of message"),
    98: Meaning(SmsRetry, "the message did not fit the state of the transfer"),
    99: Meaning(SmsRefused, "the network does not know an element of the message"),
    111: Meaning(SmsRetry, "protocol error"),
    127: Meaning(SmsRetry, "error between two networks"),
    192: Meaning(SmsRetry, "the message centre is busy"),
    193: Meaning(SmsRefused, "no subscription at this message centre", _SMSC),
    194: Meaning(SmsRetry, "the message centre has failed"),
    195: Meaning(SmsRefused, "the message centre calls the number invalid", "Check the contact's number"),
    196: Meaning(SmsRefused, "the recipient is barred", "Check the contact's number"),
    197: Meaning(SmsRefused, "the message centre calls the message a duplicate"),
    208: Meaning(SmsFix, "the SIM's message storage is full", _FULL),
    211: Meaning(SmsFix, "the modem's message storage is full", _FULL),
    212: Meaning(SmsRetry, "the SIM is busy"),
    300: Meaning(SmsRetry, "failure of the modem"),
    301: Meaning(SmsRetry, "another uses the modem's SMS service", "Does another program use the modem?"),
    302: Meaning(SmsRefused, "the modem does not allow it"),
    303: Meaning(SmsRefused, "the modem does not support it"),
    304: Meaning(SmsRefused, "the modem calls the PDU invalid", _BUG),
    305: Meaning(SmsRefused, "the modem calls the text mode parameter invalid", _BUG),
    310: Meaning(SmsFix, "no SIM", _SIM),
    311: Meaning(SmsFix, "the SIM wants its PIN", _PIN),
    312: Meaning(SmsFix, "the SIM is locked to another device", "Use a SIM without that lock"),
    313: Meaning(SmsFix, "the SIM has failed", _BROKEN),
    314: Meaning(SmsRetry, "the SIM is busy"),
    315: Meaning(SmsFix, "the modem rejects this SIM", "Use a SIM of the operator the modem is locked to"),
    316: Meaning(SmsFix, "the SIM wants its PUK", _PUK),
    317: Meaning(SmsFix, "the SIM wants its PIN2", _PIN),
    318: Meaning(SmsFix, "the SIM wants its PUK2", _PUK),
    320: Meaning(SmsFix, "the message storage has failed", _BROKEN),
    321: Meaning(SmsFix, "there is no such place in the message storage", _FULL),
    322: Meaning(SmsFix, "the message storage is full", _FULL),
    330: Meaning(SmsFix, "the number of the message centre is not known", _SMSC),
    331: Meaning(SmsRetry, "no network", "Check the aerial and the signal"),
    332: Meaning(SmsRetry, "the network did not answer in time"),
    340: Meaning(SmsRetry, "the modem waited for an acknowledgement"),
    500: Meaning(SmsRetry, "unknown error"),
}  # fmt: skip

CME: dict[int, Meaning] = {
    0: Meaning(SmsRetry, "failure of the modem"),
    3: Meaning(SmsRetry, "the modem does not allow it now"),
    4: Meaning(SmsRefused, "the modem does not support it"),
    5: Meaning(SmsFix, "the modem is locked", "Use a modem that is not locked to an operator"),
    10: CMS[310], 11: CMS[311], 12: CMS[316], 13: CMS[313], 14: CMS[314], 15: CMS[315],
    16: Meaning(SmsFix, "the PIN is wrong", "Correct the PIN in the configuration; it is not tried again"),
    17: CMS[317], 18: CMS[318], 20: CMS[322], 21: CMS[321], 23: CMS[320], 30: CMS[331],
    31: CMS[332],
    32: Meaning(SmsRetry, "the network allows emergency calls only", _BARRED),
    100: Meaning(SmsRetry, "unknown error"),
}  # fmt: skip


def error_of(source: str, code: int | None, text: str = "") -> SmsError:
    """The error for +CMS ERROR or +CME ERROR with this code; `text` is what came instead of a number."""
    if code is None:
        return _limited(SmsRetry(f"the modem says {text or 'ERROR'}", source=source))
    known = (CMS if source == "CMS" else CME).get(code)
    if known is None:
        known = _unlisted(source, code)
    error = known.kind(known.text, known.remedy, source=source, code=code)
    if (source, code) in (("CMS", 500), ("CME", 100), ("CME", 3)):
        return _limited(error)
    return error


def _limited(error: SmsError) -> SmsError:
    if isinstance(error, SmsRetry):
        error.tries = UNKNOWN_TRIES
    return error


def _unlisted(source: str, code: int) -> Meaning:
    if source == "CMS" and 128 <= code <= 255:
        return Meaning(SmsRefused, "the message centre refuses the message")
    if source == "CMS" and code >= 512:
        return Meaning(
            SmsRetry, "an error of the modem's maker's own", "Look the code up in the modem's AT manual"
        )
    return Meaning(SmsRetry, "an error without a meaning in the standard")
