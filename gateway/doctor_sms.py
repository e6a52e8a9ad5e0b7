"""The doctor's look at the messages: modem and SIM, the provider, and whether anybody would be told.

The SIM's PIN is tried as the station tries it: once, never when one was refused before, and never the last
tries (alerts.modem_session). The modem is not restarted.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence

import msgspec

from alerts.cms import SmsError
from alerts.modem import Modem, Waits
from alerts.modem_time import UNCERTAINTY_S, NoTime
from gateway import config
from gateway.clock import Machine, kernel_synced
from gateway.clock_modem import ModemTime
from gateway.doctor_finding import Finding, one_line, said
from gateway.doctor_journal import Evidence
from gateway.doctor_ports import check_port
from gateway.sms import modem_of, provider_of

MODEM_WITHIN_S = 30.0
PROVIDER_WITHIN_S = 15.0
TIME_WITHIN_S = 12.0
LOW_BALANCE = 50.0
_VERY_GOOD, _GOOD, _FAIR, _WEAK = -75, -85, -95, -105
"""Lower ends in dBm. Words of our own: no standard has them."""


async def check_modem(
    wanted: config.Station, evidence: Evidence, *, second: bool = False
) -> Sequence[Finding]:
    """The modem of [sms], or the second one: asked, or judged by the journal while the service has it."""
    sms = wanted.sms.second if wanted.sms is not None and second else wanted.sms
    if sms is None or sms.modem is None:
        return []
    found = await _modem(wanted, evidence, sms, sms.modem, "second" if second else "modem")
    if not second:
        return found
    renamed = [msgspec.structs.replace(f, check="modem 2") for f in found if f.check == "modem"]
    return [*(f for f in found if f.check != "modem"), *renamed]


async def _modem(
    wanted: config.Station, evidence: Evidence, sms: config.Sms | config.SecondModem, port: str, name: str
) -> Sequence[Finding]:
    found = list(await check_port(port, "modem" if name == "modem" else "modem 2", evidence))
    if any(finding.what.startswith("the service has it") for finding in found):
        return [*found, journaled(evidence, name)]
    if any(finding.level == "failure" for finding in found):
        return found
    modem = modem_of(sms, port, wanted.data, name, waits=Waits(again_s=math.inf, sim_s=15.0))
    try:
        async with asyncio.timeout(MODEM_WITHIN_S):
            health = await modem.health()
    except TimeoutError:
        text = said("no usable answer within {within} s", within=f"{MODEM_WITHIN_S:g}")
        return [*found, Finding("modem", "", "failure", text, said("switch its power off and on"))]
    except SmsError as e:
        return [*found, Finding("modem", _about(e), "failure", e.meaning, _helps(e))]
    else:
        if wanted.clock.source == "modem":
            found.append(await _time(modem, wanted))
    finally:
        modem.close()
    who = modem.identity
    about = one_line(f"{who.maker} {who.model} {who.revision}", 80)
    found.append(Finding("modem", "", "ok", said("answers: {values}", values=about)))
    found.append(Finding("modem", "SIM", "ok", said("ready")))
    if health.registered:
        at = f"{health.registration}, {health.operator or '–'}"
        found.append(Finding("modem", "network", "ok", at))
    else:
        remedy = said("check the aerial and the SIM's contract; move the modem")
        found.append(Finding("modem", "network", "failure", health.registration, remedy))
    found.append(_signal(health.signal_dbm))
    found.append(Finding("modem", "message centre", "ok", who.smsc))
    full = health.size > 0 and health.used >= 0.8 * health.size
    text = said("{used} of {size} places are taken", used=health.used, size=health.size)
    if not full:
        return [*found, Finding("modem", "store", "ok", text)]
    remedy = said("the service empties it; messages of others stay: delete them")
    return [*found, Finding("modem", "store", "warning", text, remedy)]


async def check_provider(wanted: config.Station) -> Sequence[Finding]:
    """The provider of [sms]: the account's balance, where it tells."""
    sms = wanted.sms
    if sms is None or sms.provider is None:
        return []
    try:
        provider = provider_of(sms, sms.provider, wanted.id)
        async with asyncio.timeout(PROVIDER_WITHIN_S):
            balance = await provider.balance()
    except TimeoutError:
        remedy = said("is there a way into the internet?")
        return [Finding("provider", "", "failure", said("does not answer"), remedy)]
    except SmsError as e:
        return [Finding("provider", "", "failure", one_line(e.meaning), _helps(e))]
    if balance is None:
        return [Finding("provider", "balance", "ok", said("this provider does not tell it"))]
    text = f"{balance.amount:g} {balance.unit}".strip()
    if balance.amount <= 0:
        return [Finding("provider", "balance", "failure", text, said("pay in: no message goes out"))]
    if balance.amount < LOW_BALANCE:
        return [Finding("provider", "balance", "warning", text, said("pay in soon"))]
    return [Finding("provider", "balance", "ok", text)]


def check_contacts(wanted: config.Station) -> list[Finding]:
    """Whether the numbers can be right, and whether every alarm that counts reaches somebody. Pure."""
    found: list[Finding] = []
    seen: dict[str, str] = {}
    for contact in wanted.contacts:
        wrong = _number(contact.phone)
        other = seen.setdefault(contact.phone, contact.id)
        language = contact.language or wanted.language
        if wrong:
            text = said("{phone}: {why}", phone=contact.phone, why=wrong)
            found.append(Finding("contact", contact.id, "failure", text, said("correct phone")))
        elif other != contact.id:
            text = said("has the number of {other}: that telephone is told twice", other=other)
            remedy = said("correct phone, or take one out")
            found.append(Finding("contact", contact.id, "warning", text, remedy))
        else:
            text = said("{phone}, told in {language}", phone=contact.phone, language=language)
            found.append(Finding("contact", contact.id, "ok", text))
    for rule in wanted.rules:
        if rule.priority == "critical" and not rule.send:
            text = said("is critical, and nobody is told")
            found.append(Finding("rule", rule.id, "failure", text, said('write send = [["duty"]]')))
    if wanted.rules and not any(rule.send for rule in wanted.rules):
        text = said("no rule tells anybody")
        remedy = said("write send in a [[rule]], and a [[contact]]")
        found.append(Finding("contacts", "", "warning", text, remedy))
    elif wanted.rules and not any(r.send for r in wanted.rules if r.priority == "critical"):
        text = said("no critical alarm reaches anybody")
        remedy = said('write priority = "critical" where it is one')
        found.append(Finding("contacts", "", "warning", text, remedy))
    return found or [Finding("contacts", "", "ok", said("there are none, and no rules"))]


def journaled(evidence: Evidence, name: str) -> Finding:
    """What the running service said last of a modem. Pure."""
    last = evidence.modems.get(name)
    if not last:
        text = said("the service has not said yet how it is")
        return Finding("modem", "", "warning", text, said("wait a minute"))
    state, why = str(last.get("state")), one_line(last.get("why", ""))
    if state == "ready":
        signal, operator = last.get("signal_dbm"), one_line(last.get("operator", ""))
        more = f"ready, {signal} dBm, {operator}" if signal is not None else "ready"
        return Finding("modem", "", "ok", said("the service says: {why}", why=more))
    text = said("the service says: {why}", why=f"{state}: {why}")
    return Finding("modem", "", "failure", text, said("see alerts/README.md, The modem"))


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


async def _time(modem: Modem, wanted: config.Station) -> Finding:
    """What the mobile network says the time is, beside the machine's own where that is right."""
    meaning = wanted.clock.modem_time
    try:
        async with asyncio.timeout(TIME_WITHIN_S):
            heard = await ModemTime(modem, lambda _: "", meaning).ask()
    except (SmsError, NoTime, TimeoutError) as e:
        remedy = said('not every network tells the time; try another SIM, or [clock] source = "rtc"')
        return Finding("modem", "time", "failure", one_line(e) or said("does not answer"), remedy)
    zone = f"UTC{heard.zone_min / 60:+g} h"
    if not kernel_synced():
        text = said("the network tells it ({zone}); nothing here to compare with", zone=zone)
        return Finding("modem", "time", "ok", text)
    off_s = (heard.utc_ms - Machine().read_ms()[0]) / 1000
    if abs(off_s) <= 2 * UNCERTAINTY_S:
        text = said("the network tells it, {off} s from NTP ({zone})", off=f"{off_s:+.0f}", zone=zone)
        return Finding("modem", "time", "ok", text)
    other = "utc" if meaning == "local" else "local"
    by_zone = abs(abs(off_s) - abs(heard.zone_min) * 60) <= 2 * UNCERTAINTY_S
    remedy = said("do not use this network's time")
    if by_zone:
        remedy = said('write [clock] modem_time = "{other}"', other=other)
    text = said("{off} s from NTP ({zone})", off=f"{off_s:+.0f}", zone=zone)
    return Finding("modem", "time", "failure", text, remedy)


def _signal(dbm: int | None) -> Finding:
    if dbm is None:
        return Finding("modem", "signal", "warning", said("not known"), said("check the aerial"))
    if dbm < _FAIR:
        text = said("weak ({dbm} dBm)", dbm=dbm)
        if dbm < _WEAK:
            text = said("very weak ({dbm} dBm)", dbm=dbm)
        return Finding(
            "modem", "signal", "warning", text, said("a better aerial, higher up, away from metal")
        )
    text = said("fair ({dbm} dBm)", dbm=dbm)
    if dbm >= _VERY_GOOD:
        text = said("very good ({dbm} dBm)", dbm=dbm)
    elif dbm >= _GOOD:
        text = said("good ({dbm} dBm)", dbm=dbm)
    return Finding("modem", "signal", "ok", text)


def _about(e: SmsError) -> str:
    if e.code in (10, 11, 12, 13, 14, 15, 16, 310, 311, 313, 314, 315, 316) or "SIM" in e.meaning:
        return "SIM"
    return "message centre" if e.code == 330 else ""


def _helps(e: SmsError) -> str:
    if e.remedy:
        return e.remedy
    return said("switch its power off and on; is baudrate right, and is it the modem's command port?")


def _number(phone: str) -> str:
    """What is wrong with a telephone number; "" if nothing shows. E.164: 15 digits at most; Kyrgyz numbers
    have nine behind +996 (ITU-T, National numbering plans, Kyrgyzstan)."""
    digits = phone.removeprefix("+")
    if not re.fullmatch(r"\d{8,15}", digits):
        return said("is not 8 to 15 digits behind the +")
    if digits.startswith("996") and len(digits) != 12:
        return said("has {count} digits behind +996, and Kyrgyz numbers have 9", count=len(digits) - 3)
    if len(set(digits[-6:])) == 1:
        return said("looks like an example")
    return ""
