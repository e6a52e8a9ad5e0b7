"""The doctor's look at the messages: modem and SIM, the provider, and whether anybody would be told.

The SIM's PIN is tried as the station tries it: once, never when one was refused before, and never the last
tries (alerts.modem_session). The modem is not restarted.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence

from alerts.cms import SmsError
from alerts.modem import Modem, Waits
from alerts.modem_time import UNCERTAINTY_S, NoTime
from gateway import config
from gateway.clock import Machine, kernel_synced
from gateway.clock_modem import ModemTime
from gateway.doctor_finding import Finding, one_line
from gateway.doctor_journal import Evidence
from gateway.doctor_ports import check_port
from gateway.sms import modem_of, provider_of

MODEM_WITHIN_S = 30.0
PROVIDER_WITHIN_S = 15.0
TIME_WITHIN_S = 12.0
LOW_BALANCE = 50.0
_SIGNAL = ((-75, "very good"), (-85, "good"), (-95, "fair"), (-105, "weak"))
"""Lower ends in dBm. Words of our own: no standard has them."""


async def check_modem(wanted: config.Station, evidence: Evidence) -> Sequence[Finding]:
    """The modem of [sms]: asked, or judged by the journal while the service has it."""
    sms = wanted.sms
    if sms is None or sms.modem is None:
        return []
    found = list(await check_port(sms.modem, "modem", evidence))
    if any(finding.what.startswith("the service has it") for finding in found):
        return [*found, _journaled(evidence)]
    if any(finding.level == "failure" for finding in found):
        return found
    modem = modem_of(sms, sms.modem, wanted.data, waits=Waits(again_s=math.inf, sim_s=15.0))
    try:
        async with asyncio.timeout(MODEM_WITHIN_S):
            health = await modem.health()
    except TimeoutError:
        text = f"no usable answer within {MODEM_WITHIN_S:g} s"
        return [*found, Finding("modem", "", "failure", text, "switch its power off and on")]
    except SmsError as e:
        return [*found, Finding("modem", _about(e), "failure", e.meaning, _helps(e))]
    else:
        if wanted.clock.source == "modem":
            found.append(await _time(modem, wanted))
    finally:
        modem.close()
    who = modem.identity
    name = one_line(f"{who.maker} {who.model} {who.revision}", 80)
    found.append(Finding("modem", "", "ok", f"answers: {name}"))
    found.append(Finding("modem", "SIM", "ok", "ready"))
    if health.registered:
        found.append(
            Finding("modem", "network", "ok", f"{health.registration}, {health.operator or 'no name'}")
        )
    else:
        remedy = "check the aerial and the SIM's contract; move the modem"
        found.append(Finding("modem", "network", "failure", health.registration, remedy))
    found.append(_signal(health.signal_dbm))
    found.append(Finding("modem", "message centre", "ok", who.smsc))
    full = health.size > 0 and health.used >= 0.8 * health.size
    text = f"{health.used} of {health.size} places are taken"
    remedy = "the service empties it; messages of others stay: delete them" if full else ""
    return [*found, Finding("modem", "store", "warning" if full else "ok", text, remedy)]


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
        return [Finding("provider", "", "failure", "does not answer", "is there a way into the internet?")]
    except SmsError as e:
        return [Finding("provider", "", "failure", one_line(e.meaning), _helps(e))]
    if balance is None:
        return [Finding("provider", "balance", "ok", "this provider does not tell it")]
    text = f"{balance.amount:g} {balance.unit}".strip()
    if balance.amount <= 0:
        return [Finding("provider", "balance", "failure", text, "pay in: no message goes out")]
    if balance.amount < LOW_BALANCE:
        return [Finding("provider", "balance", "warning", text, "pay in soon")]
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
            found.append(
                Finding("contact", contact.id, "failure", f"{contact.phone}: {wrong}", "correct phone")
            )
        elif other != contact.id:
            text = f"has the number of {other}: that telephone is told twice"
            found.append(Finding("contact", contact.id, "warning", text, "correct phone, or take one out"))
        else:
            found.append(Finding("contact", contact.id, "ok", f"{contact.phone}, told in {language}"))
    for rule in wanted.rules:
        if rule.priority == "critical" and not rule.send:
            text = "is critical, and nobody is told"
            found.append(Finding("rule", rule.id, "failure", text, 'write send = [["duty"]]'))
    if wanted.rules and not any(rule.send for rule in wanted.rules):
        text = "no rule tells anybody"
        found.append(Finding("contacts", "", "warning", text, "write send in a [[rule]], and a [[contact]]"))
    elif wanted.rules and not any(r.send for r in wanted.rules if r.priority == "critical"):
        text = "no critical alarm reaches anybody"
        found.append(Finding("contacts", "", "warning", text, 'write priority = "critical" where it is one'))
    return found or [Finding("contacts", "", "ok", "there are none, and no rules")]


# ── inside ──────────────────────────────────────────────────────────────────────────────────────


def _journaled(evidence: Evidence) -> Finding:
    said = evidence.modem
    if not said:
        return Finding("modem", "", "warning", "the service has not said yet how it is", "wait a minute")
    state, why = str(said.get("state")), one_line(said.get("why", ""))
    if state == "ready":
        signal = said.get("signal_dbm")
        more = f", {signal} dBm, {one_line(said.get('operator', ''))}" if signal is not None else ""
        return Finding("modem", "", "ok", f"the service says: ready{more}")
    return Finding(
        "modem", "", "failure", f"the service says: {state}: {why}", "see alerts/README.md, The modem"
    )


async def _time(modem: Modem, wanted: config.Station) -> Finding:
    """What the mobile network says the time is, beside the machine's own where that is right."""
    meaning = wanted.clock.modem_time
    try:
        async with asyncio.timeout(TIME_WITHIN_S):
            said = await ModemTime(modem, lambda _: "", meaning).ask()
    except (SmsError, NoTime, TimeoutError) as e:
        remedy = 'not every network tells the time; try another SIM, or [clock] source = "rtc"'
        return Finding("modem", "time", "failure", one_line(e) or "no answer", remedy)
    zone = f"UTC{said.zone_min / 60:+g} h"
    if not kernel_synced():
        return Finding("modem", "time", "ok", f"the network tells it ({zone}); nothing here to compare with")
    off_s = (said.utc_ms - Machine().read_ms()[0]) / 1000
    if abs(off_s) <= 2 * UNCERTAINTY_S:
        return Finding("modem", "time", "ok", f"the network tells it, {off_s:+.0f} s from NTP ({zone})")
    other = "utc" if meaning == "local" else "local"
    by_zone = abs(abs(off_s) - abs(said.zone_min) * 60) <= 2 * UNCERTAINTY_S
    remedy = f'write [clock] modem_time = "{other}"' if by_zone else "do not use this network's time"
    return Finding("modem", "time", "failure", f"{off_s:+.0f} s from NTP ({zone})", remedy)


def _signal(dbm: int | None) -> Finding:
    if dbm is None:
        return Finding("modem", "signal", "warning", "not known", "check the aerial")
    word = next((word for least, word in _SIGNAL if dbm >= least), "very weak")
    if word in ("weak", "very weak"):
        remedy = "a better aerial, higher up, away from metal"
        return Finding("modem", "signal", "warning", f"{word} ({dbm} dBm)", remedy)
    return Finding("modem", "signal", "ok", f"{word} ({dbm} dBm)")


def _about(e: SmsError) -> str:
    if e.code in (10, 11, 12, 13, 14, 15, 16, 310, 311, 313, 314, 315, 316) or "SIM" in e.meaning:
        return "SIM"
    return "message centre" if e.code == 330 else ""


def _helps(e: SmsError) -> str:
    return e.remedy or "switch its power off and on; is baudrate right, and is it the modem's command port?"


def _number(phone: str) -> str:
    """What is wrong with a telephone number; "" if nothing shows. E.164: 15 digits at most; Kyrgyz numbers
    have nine behind +996 (ITU-T, National numbering plans, Kyrgyzstan)."""
    digits = phone.removeprefix("+")
    if not re.fullmatch(r"\d{8,15}", digits):
        return "is not 8 to 15 digits behind the +"
    if digits.startswith("996") and len(digits) != 12:
        return f"has {len(digits) - 3} digits behind +996, and Kyrgyz numbers have 9"
    if len(set(digits[-6:])) == 1:
        return "looks like an example"
    return ""
