"""Checks of [sensor.calibration] and [sensor.correct.<quantity>]: no formula where it does not belong."""

from __future__ import annotations

from gateway.config_calibration import FORMULAS, Correct
from gateway.config_draft import Draft, Spot
from gateway.config_lines import mean
from gateway.config_words import shown


def check_calibrations(draft: Draft) -> None:
    """A formula that cannot be used is taken out: the raw number is better than a wrong one."""
    for index, sensor in draft.sensors.items():
        at = draft.at("sensor", index)
        low, high = sensor.calibration.accept
        if low <= 0:
            text = f"[{low:g}, {high:g}] is no slope in %; allowed is for instance [85, 105]"
            at.complain("calibration.accept", text)
        kept = {q: c for q, c in sensor.correct.items() if _formula(draft, index, at, q, c)}
        if kept != sensor.correct:
            draft.sensors[index] = sensor.model_copy(update={"correct": kept})


def _formula(draft: Draft, index: int, at: Spot, quantity: str, asked: Correct) -> bool:
    key, sensor = f"correct.{quantity}", draft.sensors[index]
    names = [q.name for q in draft.quantities[index]]
    _, corrects, needs = FORMULAS[asked.formula]
    if quantity not in names:
        at.complain(key, f"a {sensor.model} does not measure {shown(quantity)}{mean(quantity, names)}")
    elif quantity != corrects:
        text = f"{shown(asked.formula)} corrects {corrects} and nothing else; take it out"
        at.complain(f"{key}.formula", text)
    elif asked.formula == "barkjohn-2021" and "pm2_5_cf1" not in names:
        text = f"needs pm2_5_cf1, which a {sensor.model} does not give: it was made for Plantower sensors"
        at.complain(f"{key}.formula", text)
    elif asked.formula == "barkjohn-2021" and not asked.colocated:
        text = "is missing; the formula holds for smoke of US cities and not for dust of a tailings dump: "
        text += 'name the reference instrument it was compared with here, colocated = "BAM 1020, 2026-05…06"'
        at.complain(f"{key}.colocated", text)
    elif asked.formula in ("nernst", "conductivity-25") and _compensates(draft, index, names):
        text = f"a {sensor.model} compensates by itself; take it out, or it is done twice"
        at.complain(f"{key}.formula", text)
    else:
        return _beside(draft, at, f"{key}.beside", asked.beside, needs)
    return False


def _compensates(draft: Draft, index: int, names: list[str]) -> bool:
    """A probe with a thermometer of its own, or that is told the temperature."""
    sensor = draft.sensors[index]
    return "water_temperature" in names or sensor.model == "atlas"


def _beside(draft: Draft, at: Spot, key: str, beside: str, needs: str) -> bool:
    other, _, quantity = beside.partition(".")
    places = {sensor.id: index for index, sensor in draft.sensors.items()}
    if other not in places:
        declared = draft.declared("sensor")
        at.complain(key, f"there is no sensor {shown(other)}{mean(other, declared)}")
        return False
    names = [q.name for q in draft.quantities[places[other]]]
    if quantity not in names:
        text = f"sensor {shown(other)} does not measure {shown(quantity)}{mean(quantity, names)}"
        at.complain(key, text)
        return False
    if quantity != needs:
        at.complain(key, f"is {quantity}; the formula needs {needs}")
        return False
    return True
