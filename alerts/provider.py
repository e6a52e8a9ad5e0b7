"""SMS over the internet: a provider described by a file is one more path by which messages leave the station.

    path = Provider(find("kannel"), {"url": "http://10.0.0.5:13013", "username": "station", "password": "…"})
    sent = await path.send("+996555000001", "pH 4.1 < 6.5", reference=7, message_id="ph-low/3/raise/duty")

    GET /cgi-bin/sendsms?username=…&password=…&to=%2B996555000001&text=pH+4.1+%3C+6.5&charset=UTF-8&coding=0
    202  0: Accepted for delivery

`send` returns when the provider's answer says that it took the message, and raises one of four errors
otherwise (alerts.cms). Only SmsUnknown leaves open whether the message went: the request had begun to go out,
and no answer came that says it. Where a provider cuts duplicates by our id (nikita-smspro does), it is asked
again at once with the same id, which cannot send the message twice.

What a file may hold is in alerts.provider_format; what answers mean in alerts.provider_answer; the wire in
alerts.provider_wire. No secret is in an error, a log line or a `repr`.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alerts.alphabet import GSM7, alphabet_of, split
from alerts.cms import UNKNOWN_TRIES, SmsError, SmsFix, SmsRefused, SmsRetry, SmsUnknown
from alerts.provider_answer import HttpAnswer, Verdict, judge, left
from alerts.provider_format import (
    PLACEHOLDER,
    UnknownProvider,
    find,
    load,
    names,
    schema,
    wrong_settings,
    wrong_url,
)
from alerts.provider_format import Answer as AnswerForm
from alerts.provider_format import Provider as Form
from alerts.provider_format import Request as RequestForm
from alerts.provider_format import Source as SourceForm
from alerts.provider_request import fill, make
from alerts.provider_wire import NotAnswered, NotReached, Web
from alerts.untold import basic, parts_of, untold

__all__ = [
    "Balance", "Provider", "Taken", "UnknownProvider", "find", "load", "names", "of_url", "schema",
    "warnings", "wrong_settings",
]  # fmt: skip

Secret = str | Callable[[], str]
"""A setting, or how to get it: asked for at each message, so that a mended one counts without a restart."""

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
IDS_KEPT = 200
"""Messages whose end is not known, or which needed a new id, are remembered up to this number."""

_KINDS: dict[str, type[SmsError]] = {
    "retry": SmsRetry, "fix": SmsFix, "refused": SmsRefused, "unknown": SmsUnknown, "duplicate": SmsUnknown,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the provider took: its ids of the parts, or ours where it gives none."""

    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left on the account. `unit` is the currency, "" where nobody says it."""

    amount: float
    unit: str


class Provider:
    """A provider, with what the station knows of its account.

    `station` goes into the ids of messages, so that two stations with one account never share one. Raises
    ValueError when a setting is missing or cannot be used: `wrong_settings` says it better, and beforehand.
    """

    def __init__(
        self,
        form: Form,
        settings: Mapping[str, Secret],
        *,
        station: str = "",
        ca: str | None = None,
        web: Web | None = None,
    ) -> None:
        self.form = form
        self.name = form.name
        self._settings = dict(settings)
        self._web = web or Web(ca=ca)
        self._ids = _Ids(station, form.id.longest)
        for key, what, remedy in wrong_settings(form, self._opened()):
            raise ValueError(f"{key}: {what}; {remedy}")

    def __repr__(self) -> str:
        return f"Provider({self.name!r})"

    async def send(self, to: str, text: str, *, reference: int, message_id: str = "") -> Taken:
        """Hand one message over; return when the provider says that it took it.

        `message_id` is the same for every attempt at a message. Raises SmsRetry, SmsFix, SmsRefused when it
        was certainly not taken, SmsUnknown when nobody knows; TextError for a text that is none.
        """
        key = f"{message_id}|{reference}" if message_id else secrets.token_hex(8)
        values = self._values(to, text)
        again = self.form.again
        times = again.times if again else 0
        maybe_taken = self._ids.is_open(key)
        renewed = False
        unknown: SmsError | None = None
        while True:
            our_id = self._ids.of(key)
            self._ids.mark_open(key)  # until an answer says otherwise: also when cancelled
            verdict = await self._once(values | {"id": our_id})
            if verdict.means == "duplicate" and not maybe_taken and not renewed:
                # The provider knows this id, we do not (a restart): nobody can tell what became of that.
                # Under a new id the message goes; where it may be the second, its text says so already.
                renewed = True
                self._ids.renew(key)
                continue
            if verdict.means == "accepted" or (verdict.means == "duplicate" and maybe_taken):
                self._ids.forget(key)
                return Taken(verdict.references or (our_id,))
            error = self._error(verdict)
            if verdict.means == "duplicate":
                raise error  # said of a new id as well: nothing it says can be relied on
            if isinstance(error, SmsUnknown):
                unknown, maybe_taken = error, True
            else:
                if verdict.sure or not maybe_taken:
                    self._ids.renew(key)
                if verdict.sure or unknown is None:
                    raise error
            if again is None or times == 0:
                raise unknown
            times -= 1
            await asyncio.sleep(again.after_s)

    async def balance(self) -> Balance | None:
        """What is left on the account; None where the provider cannot be asked. Raises SmsError."""
        form = self.form.balance
        if form is None:
            return None
        try:
            request = make(form.request, self._opened())
            answer = await self._web.ask(request)
        except (NotReached, NotAnswered, ValueError) as e:
            raise SmsRetry(f"{self.name}: {e}") from None
        found = left(answer, form)
        if found is None:
            raise SmsRetry(
                f"{self.name}: the answer about the balance is not understood (HTTP {answer.status})"
            )
        return Balance(*found)

    def _values(self, to: str, text: str) -> dict[str, str]:
        number = to.replace(" ", "")
        if not _E164.fullmatch(number):
            raise SmsRefused(f"{to:.20} is no international number", "Write it as +996555000001")
        if len(text) > self.form.longest:
            raise SmsRefused(f"the text has {len(text)} characters, {self.name} takes {self.form.longest}")
        split(text)  # raises TextError
        gsm7 = alphabet_of(text) == GSM7
        values = self._opened()
        values["digits"] = number[1:]
        values["to"] = number if self.form.number.startswith("+") else number[1:]
        values["text"] = text
        if self.form.alphabet:
            values["alphabet"] = self.form.alphabet.gsm7 if gsm7 else self.form.alphabet.ucs2
        return values

    async def _once(self, values: Mapping[str, str]) -> Verdict:
        try:
            answer = await self._web.ask(make(self.form.request, values))
        except ValueError as e:
            return Verdict("fix", str(e), "Correct [sms.provider_settings]", sure=True)
        except NotReached as e:
            return Verdict("fix" if e.remedy else "retry", str(e), e.remedy)
        except NotAnswered as e:
            return Verdict("unknown", str(e))
        return self._judge(answer, values)

    def _judge(self, answer: HttpAnswer, values: Mapping[str, str]) -> Verdict:
        return judge(answer, self.form.answer, self.form.codes, values, self._clean)

    def _error(self, verdict: Verdict) -> SmsError:
        error = _KINDS[verdict.means](f"{self.name}: {verdict.says}", verdict.remedy)
        if isinstance(error, SmsRetry) and not verdict.listed:
            error.tries = UNKNOWN_TRIES
        return error

    def _opened(self) -> dict[str, str]:
        opened = {name: setting.default or "" for name, setting in self.form.settings.items()}
        given = {name: value() if callable(value) else value for name, value in self._settings.items()}
        missing = {n for n, s in self.form.settings.items() if s.default is None and n not in given}
        return {name: value for name, value in (opened | given).items() if name not in missing}

    def _clean(self, text: str) -> str:
        """A text without the secrets in it: a provider's answer may show what it was given."""
        opened = self._opened()
        told = [opened.get(name) for name, setting in self.form.settings.items() if setting.kind == "secret"]
        if self.form.request.basic:
            told.append(basic(*(fill(part, opened) for part in self.form.request.basic)))
        return untold(text, *told)


def of_url(url: str, *, station: str = "", ca: str | None = None, web: Web | None = None) -> Provider:
    """A provider that one address says everything of: GET https://HOST/send?key=…&to={to}&text={text}

    Placeholders: {to} (+996555000001), {digits} (996555000001), {text}, {id}. What stands behind a # is how
    the answer begins when the message was taken (it is not sent); without it, every answer of HTTP 200 to 299
    counts, which `warnings` says. Raises ValueError, which does not show the address.
    """
    address, _, accepted = url.strip().partition("#")
    wrong = wrong_url(PLACEHOLDER.sub("0", address))
    if wrong:
        raise ValueError(f"the address {wrong}")
    unknown = {f[1] for f in PLACEHOLDER.finditer(address)} - {None, "to", "digits", "text", "id"}
    left_over = PLACEHOLDER.sub("", address)
    if unknown or "{" in left_over or "}" in left_over:
        raise ValueError("the address has other braces than {to}, {digits}, {text} and {id}")
    if "{text}" not in address or not {"{to}", "{digits}"} & set(re.findall(r"\{\w+\}", address)):
        raise ValueError("the address lacks {text}, or {to} or {digits}")
    words = accepted.strip()
    form = Form(
        name="url", title="an address", verified="by nobody",
        source=SourceForm(document="the owner", revision="unknown"),
        request=RequestForm(method="GET", url=address),
        answer=AnswerForm(format="text", accepted=[words or "-"]),
    )  # fmt: skip
    return _Address(form, station=station, ca=ca, web=web, any_answer=not words)


def warnings(provider: Provider) -> list[str]:
    """What a technician should know before relying on it: lines without secrets."""
    said = []
    if isinstance(provider, _Address) and provider.any_answer:
        said.append(
            "nothing says how the answer begins when a message was taken, so HTTP 200 counts as taken; "
            "write it behind a #: https://HOST/send?to={to}&text={text}#OK"
        )
    opened = provider._opened()
    urls = [opened[n] for n, s in provider.form.settings.items() if s.kind == "url"]
    if any(u.startswith("http://") and not _near(u) for u in [*urls, provider.form.request.url]):
        said.append("http:// shows the password and the messages to everybody on the way; use https://")
    return said


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────


class _Address(Provider):
    def __init__(
        self, form: Form, *, station: str, ca: str | None, web: Web | None, any_answer: bool
    ) -> None:
        super().__init__(form, {}, station=station, ca=ca, web=web)
        self.any_answer = any_answer

    def _clean(self, text: str) -> str:
        """Which of its parts are secret nobody says, so none is shown but what each message has anew."""
        address = PLACEHOLDER.sub("", self.form.request.url)
        return untold(text, *parts_of(address))

    def _judge(self, answer: HttpAnswer, values: Mapping[str, str]) -> Verdict:
        if self.any_answer and 200 <= answer.status <= 299:
            return Verdict("accepted")
        return super()._judge(answer, values)


class _Ids:
    """Our ids of messages: the same for a message until an attempt at it certainly failed.

    A provider that cuts duplicates may also remember the id of a message that it refused; so after a certain
    failure the next attempt has a new one, and after an uncertain one the same.
    """

    def __init__(self, station: str, longest: int) -> None:
        self._station, self._longest = station, longest
        self._renewals: dict[str, int] = {}
        self._open: dict[str, None] = {}

    def of(self, key: str) -> str:
        seed = f"{self._station}|{key}|{self._renewals.get(key, 0)}"
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest())
        signs = ""
        while len(signs) < min(self._longest, 32):
            number, digit = divmod(number, 36)
            signs += _DIGITS[digit]
        return signs

    def renew(self, key: str) -> None:
        self._open.pop(key, None)
        self._renewals[key] = self._renewals.pop(key, 0) + 1
        if len(self._renewals) > IDS_KEPT:
            del self._renewals[next(iter(self._renewals))]

    def mark_open(self, key: str) -> None:
        self._open[key] = None
        if len(self._open) > IDS_KEPT:
            del self._open[next(iter(self._open))]

    def is_open(self, key: str) -> bool:
        return key in self._open

    def forget(self, key: str) -> None:
        self._open.pop(key, None)
        self._renewals.pop(key, None)


def _near(url: str) -> bool:
    return re.match(r"http://(localhost|127\.\d+\.\d+\.\d+|\[::1\])([:/]|$)", url) is not None
