"""The alarms' part of station.toml as alerts.watch wants it: rules, contacts, texts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from alerts.messages import LANGUAGES, Texts, TextsError, packaged, parse
from alerts.policy import Contact, Quiet
from alerts.rules import Kind, Priority, Rule, RuleError, Tier
from alerts.watch import Limits, Watch
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway import config

log = logging.getLogger(__name__)


def watch(wanted: config.Station) -> Watch:
    """The rules, contacts and texts of a station, as the alarms want them. Raises ConfigError."""
    every_s = {sensor.id: sensor.every_s for sensor in wanted.sensors}
    digits = {
        (sensor, quantity.name): quantity.digits
        for sensor, quantities in wanted.quantities.items()
        for quantity in quantities
    }
    rules, wrong = [], []
    for rule in wanted.rules:
        try:
            every = every_s.get(rule.sensor, 10.0)
            rules.append(_rule(rule, every, digits.get((rule.sensor, rule.quantity), 1)))
        except RuleError as e:
            wrong.append(f"{wanted.file.name}: {e}")
    if wrong:
        raise ConfigError(wrong)
    contacts = [
        Contact(
            id=contact.id,
            phone=contact.phone,
            language=contact.language or wanted.language,
            quiet=Quiet(contact.quiet.from_min, contact.quiet.to_min, Priority(contact.quiet.unless))
            if contact.quiet
            else None,
            pin=contact.pin.get_secret_value() if contact.pin else "",
        )
        for contact in wanted.contacts
    ]
    texts = {language: _texts(wanted, language) for language in {contact.language for contact in contacts}}
    return Watch(wanted.id, rules, contacts, texts, ZoneInfo(wanted.timezone), _limits(wanted.sms))


def check_texts(wanted: config.Station) -> None:
    """Read the operator's own texts of every language. Raises ConfigError."""
    for language in LANGUAGES:
        own_texts(wanted, language)


def own_texts(wanted: config.Station, language: str) -> Texts:
    """The texts of a language: the packaged ones, with those of the operator's own file laid over them.
    Blocks on the disk once. Raises ConfigError.
    """
    texts = packaged(language)
    if wanted.sms is None or wanted.sms.texts is None:
        return texts
    file = wanted.file.parent / wanted.sms.texts / f"{language}.toml"
    try:
        return parse(file.read_text(encoding="utf-8"), str(file), texts)
    except FileNotFoundError:
        return texts
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError([f"{file}: cannot be read: {e}"]) from e
    except TextsError as e:
        raise ConfigError([str(e)]) from e


def _texts(wanted: config.Station, language: str) -> Texts:
    """As `own_texts`; a mistake in the operator's file is no reason to be silent in an alarm."""
    try:
        return own_texts(wanted, language)
    except ConfigError as e:
        log.error("the texts of the program are used: %s", e)
        return packaged(language)


def _limits(sms: config.Sms | None) -> Limits:
    if sms is None:
        return Limits(answers=False)
    return Limits(
        collect_s=sms.collect_s,
        budget=int(sms.budget.amount),
        budget_s=sms.budget.per_s,
        answers=sms.modem is not None,
        daily_min=sms.daily,
        daily_to=sms.daily_to,
    )


def _rule(rule: config.Rule, every_s: float, digits: int) -> Rule:
    return Rule(
        id=rule.id,
        sensor=rule.sensor,
        kind=_kind(rule),
        quantity=rule.quantity,
        unit=rule.unit,
        low=rule.below,
        high=rule.change.amount if rule.change else rule.above,
        hysteresis=rule.hysteresis,
        on_delay_s=rule.on_delay_s,
        off_delay_s=rule.off_delay_s,
        latching=rule.latching,
        priority=Priority(rule.priority),
        no_data_s=rule.no_data_s or 600.0,
        over_s=rule.over_s or 0.0,
        nowcast=rule.nowcast,
        change_s=rule.change.per_s if rule.change else 0.0,
        and_rule=rule.and_rule,
        every_s=every_s,
        gap_s=max(10.0, 3 * every_s),
        stuck_s=rule.stuck_s or 0.0,
        start_up_s=rule.start_up_s,
        parent=rule.parent,
        digits=digits,
        months=rule.season,
        hours=(rule.hours.from_min, rule.hours.to_min) if rule.hours else None,
        send=tuple(Tier(tier.contacts, tier.after_s) for tier in rule.send),
    )


def _kind(rule: config.Rule) -> Kind:
    if rule.no_data_s is not None:
        return Kind.NO_DATA
    if rule.fault:
        return Kind.FAULT
    if rule.stuck_s is not None:
        return Kind.STUCK
    if rule.watch is not None:
        return Kind(rule.watch)
    if rule.above is not None and rule.below is not None:
        return Kind.OUTSIDE
    return Kind.BELOW if rule.below is not None else Kind.ABOVE
