"""The monthly report as one page of HTML: nothing from elsewhere, no scripts, for a phone's width and for A4.

Cells are HTML already: whatever came from a journal, from station.toml or from a rule has gone through
`escape`. On a narrow screen each row of a table becomes a card, with the column's name before each cell.
"""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from typing import Any

from gateway.ledger_sums import Account
from gateway.report_facts import (
    LONGEST,
    Facts,
    code,
    figure,
    fitting,
    listed,
    more,
    ordered,
    section,
    short,
    table,
)
from gateway.report_figures import plots
from gateway.report_series import STEP_MS
from gateway.report_story import ROWS_AT_MOST
from gateway.report_words import Words

SUPPLY = ("voltage", "current", "charge", "power")
REASONS = 3
"""That the sentence has room for; how many more there are is said."""


def page(facts: Facts, w: Words) -> str:
    """The whole report."""
    month = w.month(facts.year, facts.month)
    title = w.say("title", month=month)
    told = {
        "alarms": _alarms(facts, w), "calibrations": _calibrations(facts, w), "gaps": _gaps(facts, w),
        "battery": _battery(facts, w), "visits": _visits(facts, w), "station_events": _log(facts, w),
    }  # fmt: skip
    none = ", ".join(w.inside(w.say(name)) for name, part in told.items() if not part)
    parts = [
        _head(facts, w, title, month), _capture(facts, w), _limits(facts, w), _numbers(facts, w),
        plots(facts, w), *told.values(),
        section(w, "nothing", f"<p>{escape(none[:1].upper() + none[1:])}.</p>") if none else "",
        _evidence(facts, w),
    ]  # fmt: skip
    return (
        f'<!DOCTYPE html>\n<html lang="{w.language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)} · {escape(facts.site.name)}</title>\n<style>{_style()}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    )


def sentence(facts: Facts, w: Words) -> str:
    """The month in one sentence, as plain text."""
    said = []
    for key, given in facts.verdict.reasons[:REASONS]:
        about = dict(given)
        if "share" in about:
            about["percent"] = w.percent(about["share"])
        if (one := about.pop("judged", None)) is not None:
            digits = facts.digits_of(one.series)
            about |= {
                "quantity": w.inside(w.quantity(one.series.quantity)),
                "side": w.say(one.side),
                "time": w.spelled(one.beyond_ms),
                "worst": w.with_unit(one.worst, one.series.unit, digits),
                "limit": w.with_unit(one.bound, one.series.unit, fitting(one.bound)),
            }
        said.append(w.say(key, **about))
    if (left := len(facts.verdict.reasons) - REASONS) > 0:
        said.append(w.say("more", n=left))
    month = w.month(facts.year, facts.month)
    return w.say(f"s_{facts.verdict.word}", station=facts.site.name, month=month, reason="; ".join(said))


# ── the parts ───────────────────────────────────────────────────────────────────────────────────


def _head(facts: Facts, w: Words, title: str, month: str) -> str:
    site, word = facts.site, facts.verdict.word
    where = f"{escape(site.name)} <small>{escape(site.id)}</small>"
    if site.latitude is not None and site.longitude is not None:
        where += f" <small>{w.number(site.latitude, 4)}, {w.number(site.longitude, 4)}</small>"
    until = ""
    if facts.now_ms < facts.sums.span.to_ms:
        until = f"<p>{w.text('until', when=w.when(facts.sums.last_ms))}</p>"
    return (
        f"<header><h1>{escape(title).replace('-', '&#8209;')}</h1><p class=where>{where}</p></header>\n"
        f'<section class="verdict {word}"><b>{w.text(word)}</b>'
        f"<p>{escape(sentence(facts, w))}</p></section>\n"
        f"{until}<p class=quiet>{w.text('note')}</p>\n"
    )


def _capture(facts: Facts, w: Words) -> str:
    rows = []
    for sensor in sorted({*facts.story.capture, *facts.sums.readings}):
        account = facts.story.capture.get(sensor, Account())
        share = account.taken / account.expected if account.expected else None
        why = ", ".join(
            f"{escape(w.why(reason))} {w.count(count)}"
            for reason, count in sorted(account.missed.items(), key=lambda item: -item[1])
        )
        if share is None:
            bar = w.text("untold")
        else:
            bar = f'<b>{w.percent(share)}</b><span class=bar><i style="width:{share * 100:.1f}%"></i></span>'
        expected = w.count(account.expected) if account.expected else "—"
        taken = w.count(account.taken if account.expected else facts.sums.readings.get(sensor, 0))
        rows.append((code(sensor), bar, taken, expected, why or "—"))
    heads = ("sensor", "percent", "taken", "expected", "missing")
    return section(w, "capture", table(w, heads, rows, right=(2, 3)), about="capture_about")


def _limits(facts: Facts, w: Words) -> str:
    rows = []
    for one in sorted(facts.judged, key=lambda one: (-one.beyond_ms, one.limit.id)):
        limit, series = one.limit, one.series
        digits = facts.digits_of(series)
        bounds = [
            f"{sign} {w.number(bound, fitting(bound))}"
            for sign, bound in ((">", limit.above), ("<", limit.below)) if bound is not None
        ]  # fmt: skip
        exceeded = w.text("never")
        if one.beyond:
            share = w.say("of", n=w.count(one.beyond), all=w.count(one.windows))
            exceeded = f"<b class=bad>{escape(w.lasting(one.beyond_ms))}</b> ({escape(share)})"
        if not one.windows:
            exceeded = "—"
        known = w.text("own_limit" if limit.sensor else "certain")
        sure = known if limit.certain else f"<b class=watch>{w.text('uncertain')}</b>"
        worst = "—"
        if one.worst is not None:
            date_only = limit.over_s >= 86_400
            worst = (
                f"{w.number(one.worst, digits)}<br><small>{w.when(one.worst_ms, date_only=date_only)}</small>"
            )
        unit = escape(w.unit(series.unit))
        over = "NowCast" if limit.nowcast else escape(w.lasting(limit.over_s * 1000))
        name = f"{escape(w.quantity(series.quantity))} <small>{code(series.sensor)}</small>"
        bound = f"<span class=whole>{escape(' / '.join(bounds))} {unit}</span>"
        rows.append((f"{name}<br><small>{code(limit.id)}</small>", bound, over, exceeded, worst, sure))
    heads = ("rule", "limit", "window", "exceeded", "worst", "certainty")
    below = "".join(
        f'<p class=quiet>{w.text("source")} ({w.text("in_original")}): <span lang="en">'
        f"{escape(given.title)}. {escape(given.source)}, "
        f"{escape(given.date)}. {escape(' '.join(given.about.split()))}</span></p>"
        for given in facts.sets
    )
    if facts.not_judged:
        below += f"<p class=quiet>{w.text('not_judged', rules=', '.join(facts.not_judged))}</p>"
    return section(w, "limits", table(w, heads, rows) + below, about="limits_about")


def _numbers(facts: Facts, w: Words) -> str:
    rows = []
    for series in ordered(facts.sums):
        digits = facts.digits_of(series)
        used, doubted = sum(series.used), sum(series.doubted)
        doubts = f"{w.count(doubted)}" + (f" ({w.percent(doubted / (used + doubted))})" if doubted else "")
        unit = w.unit(series.unit)
        mean = w.number(series.mean(0, series.steps), digits)
        low, high = (w.number(f(x), digits) for f, x in ((min, series.low), (max, series.high)))
        name = escape(w.quantity(series.quantity) + (f", {unit}" if unit else ""))
        name += f" <small>{code(series.sensor)}</small>"
        rows.append((name, low, f"<b>{mean}</b>", high, w.count(used), doubts))
    heads = ("quantity", "least", "mean", "most", "values", "doubtful")
    note = f"<p class=quiet>{w.text('left_out')}</p>" if rows else ""
    return section(w, "summary", table(w, heads, rows, right=(1, 2, 3, 4, 5)) + note)


def _alarms(facts: Facts, w: Words) -> str:
    rows = []
    for a in facts.story.alarms[:ROWS_AT_MOST]:
        worst = "—"
        if a.worst is not None:
            limit = f"{w.inside(w.say('limit'))} {w.number(a.limit, fitting(a.limit))}"
            worst = f"{w.with_unit(a.worst, a.unit)} ({limit})"
        priority = (
            w.text(f"p_{a.priority}") if a.priority in ("critical", "high", "low") else short(a.priority)
        )
        by = (
            f"{short(a.by)}<br><small>{w.when(a.acknowledged_ms)}</small>"
            if a.acknowledged_ms
            else w.text("nobody")
        )
        over = w.when(a.cleared_ms) if a.cleared_ms else f"<b>{w.text('stands')}</b>"
        about = (
            f"{escape(w.quantity(a.quantity))} <small>{code(a.sensor)}</small>"
            if a.quantity
            else code(a.sensor)
        )
        rows.append((f"{about}<br><small>{code(a.rule)}</small>", priority, w.when(a.raised_ms), over,
                     escape(worst), by))  # fmt: skip
    heads = ("rule", "priority", "raised", "cleared", "worst", "acknowledged")
    if not rows:
        return ""
    return section(w, "alarms", table(w, heads, rows) + more(w, len(facts.story.alarms)))


def _calibrations(facts: Facts, w: Words) -> str:
    rows = []
    for c in facts.story.calibrations[:ROWS_AT_MOST]:
        verdict = c.get("verdict")
        judged = w.text(f"v_{verdict}") if verdict in ("passed", "failed", "checked") else short(verdict)
        reasons = c.get("reasons")
        if isinstance(reasons, list) and reasons:
            judged += f"<br><small lang=en>{short('; '.join(map(str, reasons)))}</small>"
        points = []
        for p in c.get("points", ()) if isinstance(c.get("points"), list) else ():
            if isinstance(p, dict):
                lot = f" <small>{w.text('lot', lot=str(p['lot'])[:40])}</small>" if p.get("lot") else ""
                points.append(
                    f"{figure(w, p.get('value'))}: "
                    f"{figure(w, p.get('found'))} → {figure(w, p.get('left'))}{lot}"
                )
        slope, zero = c.get("slope_percent"), c.get("offset_mv")
        line = f"{figure(w, slope)} %" + (
            f"<br><small>{figure(w, zero)} mV</small>" if zero is not None else ""
        )
        name = f"{code(c.get('sensor'))} {escape(w.quantity(str(c.get('quantity', ''))))}"
        rows.append((
            f"{name}<br><small>{w.when(c.get('ended_ms'))}</small>", short(c.get("by")), judged,
            "<br>".join(points) or "—", line if slope is not None else "—",
            _fouled(c, w), w.when(c.get("next_due_ms"), date_only=True),
        ))  # fmt: skip
    heads = ("sensor", "by", "verdict", "points", "slope", "fouling", "next_due")
    text = table(w, heads, rows) + more(w, len(facts.story.calibrations))
    effects = []
    for v in facts.corrections[:ROWS_AT_MOST]:
        to = w.when(v.to_ms) if v.to_ms is not None else w.say("onwards")
        kind = w.say(f"k_{v.kind}") if f"k_{v.kind}" in w.say_ else v.kind
        about = w.say("correction_at", number=v.number, kind=kind, **{"from": w.when(v.from_ms), "to": to})
        effects.append(f"<li>{code(v.sensor)} {escape(w.quantity(v.quantity))}: {escape(about)}</li>")
    for series in ordered(facts.sums):
        if series.corrected:
            digits = max(2, facts.digits_of(series))
            raw, value = (series.mean(0, series.steps, raw=raw) for raw in (True, False))
            said = w.text(
                "correction_effect", quantity=w.quantity(series.quantity), n=w.count(series.corrected),
                raw=w.number(raw, digits), value=w.with_unit(value, series.unit, digits),
            )  # fmt: skip
            effects.append(f"<li>{code(series.sensor)} {said}</li>")
    if not rows and not effects:
        return ""
    if effects:
        text += f"<h3>{w.text('corrections')}</h3><ul>{''.join(effects)}</ul>"
    return section(w, "calibrations", text)


def _fouled(calibration: dict[str, Any], w: Words) -> str:
    amount, unit = figure(w, calibration.get("fouling")), w.unit(str(calibration.get("unit", ""))[:20])
    return escape(f"{amount} {unit}".rstrip()) if amount != "—" else amount


def _gaps(facts: Facts, w: Words) -> str:
    together: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for gap in facts.story.gaps:  # what hit several instruments at once is one row
        key = tuple(repr(gap.get(name)) for name in ("from_ms", "to_ms", "why", "slots"))
        together.setdefault(key, []).append(gap)
    if not together:
        return ""
    rows = []
    for gaps in list(together.values())[:ROWS_AT_MOST]:
        gap = gaps[0]
        begin, end, slots = gap.get("from_ms"), gap.get("to_ms"), gap.get("slots")
        length = escape(w.lasting(end - begin)) if type(begin) is int and type(end) is int else "—"
        count = w.count(slots) if type(slots) is int else "—"
        why = escape(w.why(str(gap.get("why", "")))[:LONGEST])
        sensors = ", ".join(code(one.get("sensor")) for one in gaps[:10]) + (" …" if len(gaps) > 10 else "")
        rows.append((sensors, w.when(begin), w.when(end), length, count, why))
    heads = ("sensor", "from", "to", "length", "slots", "reason")
    text = table(w, heads, rows, right=(4,)) + more(w, len(together))
    return section(w, "gaps", text, about="gaps_about")


def _battery(facts: Facts, w: Words) -> str:
    rows = []
    for series in ordered(facts.sums):
        if series.medium != "power" and series.quantity not in SUPPLY:
            continue
        step = min(range(series.steps), key=lambda i: series.low[i])
        if not any(series.used):
            continue
        digits, when = facts.digits_of(series), w.when(facts.sums.span.from_ms + step * STEP_MS)
        lowest = f"{escape(w.with_unit(series.low[step], series.unit, digits))}<br><small>{when}</small>"
        mean = w.with_unit(series.mean(0, series.steps), series.unit, digits)
        name = f"{escape(w.quantity(series.quantity))} <small>{code(series.sensor)}</small>"
        rows.append((name, lowest, escape(mean), escape(w.with_unit(max(series.high), series.unit, digits))))
    if not rows:
        return ""
    return section(w, "battery", table(w, ("quantity", "least", "mean", "most"), rows))


def _visits(facts: Facts, w: Words) -> str:
    rows = [
        (w.when(v.get("from_ms")), w.when(v.get("to_ms")), listed(v.get("by")),
         listed(v.get("why")), listed(v.get("sensors")))
        for v in facts.story.visits[:ROWS_AT_MOST]
    ]  # fmt: skip
    heads = ("from", "to", "by", "why", "sensor")
    if not rows:
        return ""
    return section(w, "visits", table(w, heads, rows) + more(w, len(facts.story.visits)))


def _log(facts: Facts, w: Words) -> str:
    rows = []
    for at_ms, what, detail in facts.story.log[:ROWS_AT_MOST]:
        plain = json.dumps({k: v for k, v in detail.items() if k != "text"}, ensure_ascii=False)[:LONGEST]
        said = w.text(
            what if what in w.say_ else "station_event", version=str(detail.get("version", ""))[:40],
            sha=str(detail.get("sha256", ""))[:12], sink=str(detail.get("sink", ""))[:40],
            sensor=str(detail.get("sensor", ""))[:40], detail=plain,
        ) if what != "station" else escape(plain)  # fmt: skip
        rows.append((w.when(at_ms), said))
    if not rows:
        return ""
    return section(w, "station_events", table(w, ("when", "event"), rows) + more(w, len(facts.story.log)))


def _evidence(facts: Facts, w: Words) -> str:
    e, text = facts.evidence, ""
    if e.wrong:
        text += f"<p class=bad><b>{w.text('e_wrong', why=e.wrong[:LONGEST])}</b></p>"
    elif e.last:
        text += f"<p>{w.text('e_whole', first=e.first, last=e.last)}</p>"
    else:
        text += f"<p>{w.text('e_none')}</p>"
    if e.unproven:
        text += f"<p>{w.text('e_unproven', n=w.count(e.unproven))}</p>"
    facts_rows = [(w.text("e_key"), code(key)) for key in e.keys] + (
        [(w.text("e_head"), code(e.head))] if e.head else []
    )
    text += "".join(f"<p>{name}: {value}</p>" for name, value in facts_rows)
    key = f" --key {e.keys[-1]}" if e.keys else ""
    text += f"<p>{w.text('e_how')}</p><pre>suuaba verify {'journal.db' + escape(key)}</pre>"
    story = facts.story
    span = f"{story.first_seq}–{story.last_seq}" if story.last_seq else "—"
    about = {
        "program": facts.program,
        "when": w.when(facts.now_ms),
        "zone": facts.site.timezone,
        "records": span,
    }
    text += f"<p class=quiet>{w.text('made', **about)}</p>"
    return section(w, "evidence", text)


def _style() -> str:
    return resources.files("gateway").joinpath("report_texts", "report.css").read_text(encoding="utf-8")
