"""A guided calibration, step by step. Pure: readings and confirmations go in, what to do next comes out.

    found ─► cleaned ─► check 4.01 ─► check 7.00 ─► … ─► decide ─┬─► adjust 7.00 ─► left 7.00 ─► adjust 4.01 …
    as it was  wiped    as found in each standard:               │   written into the instrument, read back
                        nothing is changed yet                   ├─► adjust ─► left     coefficients, at once
                                                                 └─► finish             kept by the station,
                                                                                        or left as it is
All standards are checked before anything is adjusted: afterwards nobody can know what the sensor said before
(USGS TM 1-D3, steps 3 to 6 of the field visit). `state` is all that a page or a terminal needs; its words are
keys (`gateway.calibration_words` has them in ky, ru, en). What a session gives in the end is an entry of the
ledger and the versions of corrections that follow from it, see `finish`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.calibration import BadPoints, Version, fit, simple
from gateway.calibration_entry import Course, entry, verdict
from gateway.calibration_points import (
    TEXT_AT_MOST,
    Plan,
    Point,
    StepRefused,
    Write,
    expired,
    method,
    number_in,
    plain,
    read_points,
    text_in,
)
from gateway.calibration_standards import Stable, judge, keeps, stable_for, standard_value

READINGS_AT_MOST = 600


Step = tuple[str, int]
"""Its name, and which point it is about."""


class Session:
    """See the head of this file. Raises StepRefused for standards that cannot be."""

    def __init__(
        self,
        plan: Plan,
        standards: Sequence[Mapping[str, Any]],
        *,
        by: str,
        began_ms: int,
        by_hand: bool = False,
    ) -> None:
        """`by_hand`: the readings were noted by a person, who judged them stable."""
        self.plan = plan
        self.by = by[:TEXT_AT_MOST].strip()
        if not self.by:
            raise StepRefused("who", "say who calibrates: the ledger needs a name")
        self.began_ms = began_ms
        self.by_hand = by_hand
        self.points = read_points(plan, standards)
        self.problem = ""
        self.wrote_any = False
        self.adjusted = False
        self.live: Version | None = None
        """The correction that the station keeps from now on."""
        self._found: dict[str, float] = {}
        self._steps: deque[Step] = deque([("found", 0), ("cleaned", 0)])
        self._steps += [("check", i) for i in range(len(self.points))]
        self._steps += [("decide", 0)]
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=READINGS_AT_MOST)
        self._temperature: float | None = None

    @property
    def step(self) -> str:
        return self._steps[0][0] if self._steps else "finish"

    @property
    def point(self) -> Point | None:
        return self.points[self._steps[0][1]] if self.step in ("check", "adjust", "left") else None

    # ── readings ────────────────────────────────────────────────────────────────────────────────────────

    def see(self, raw: float, value: float, at_s: float, temperature_degc: float | None = None) -> None:
        """One reading: as the instrument says, and as the station's present correction makes it."""
        if math.isfinite(raw) and math.isfinite(value):
            self._seen.append((at_s, raw, value))
            self._temperature = temperature_degc

    def criterion(self) -> Stable:
        point = self.point
        return self.plan.stable or stable_for(self.plan.quantity, point.nominal if point else 0.0)

    def state(self) -> dict[str, Any]:
        """Everything that may be shown, as plain JSON."""
        criterion = self.criterion()
        stable, spread, covered_s = judge([(t, v) for t, _, v in self._seen], criterion)
        point = self.point
        shown: dict[str, Any] = {
            "sensor": self.plan.sensor, "quantity": self.plan.quantity, "unit": self.plan.unit, "by": self.by,
            "method": method(self.plan), "step": self.step, "steps_left": len(self._steps),
            "standard": point.nominal if point else None,
            "reading": self._seen[-1][2] if self._seen else None,
            "temperature_degc": self._temperature,
            "stable": stable, "spread": spread if math.isfinite(spread) else None,
            "within": criterion.within, "over_s": criterion.over_s, "covered_s": round(covered_s, 1),
            "readings": len(self._seen), "problem": self.problem,
            "points": [plain(p) for p in self.points],
            "found": dict(self._found),
        }  # fmt: skip
        if point is not None:
            shown["worth"], shown["worth_source"] = standard_value(
                self.plan.quantity, point.nominal, self._temperature
            )
        if self.step == "decide":
            shown["advice"] = "keep" if self._may_stay() else "adjust"
        if self.step == "finish":
            shown["verdict"], shown["reasons"] = self.verdict()
        return shown

    # ── confirmations ───────────────────────────────────────────────────────────────────────────────────

    def take(self, given: Mapping[str, Any]) -> Write | None:
        """Confirm the present step. `given` by step:

        found, cleaned   side: a second meter's reading in the same water (optional)
        check, left      temperature_degc (where the sensor has no thermometer), lot, expires, value (as the
                         bottle's own table says), anyway (although it is not stable)
        decide           adjust: true or false
        adjust           confirm: true; gives what is to be written into the instrument

        Raises StepRefused, and then nothing has changed.
        """
        self.problem = ""
        name = self.step
        match name:
            case "found" | "cleaned":
                self._take_water(name, given)
            case "check":
                self._take_check(given)
            case "decide":
                self._decide(given)
                return None
            case "adjust":
                return self._adjust(given)
            case "left":
                self._take_left(given)
            case _:
                raise StepRefused("over", "all steps are done: finish it")
        self._next()
        return None

    def skip(self) -> None:
        """Leave the present step out: nothing was cleaned, a bottle is empty. Not the writing."""
        if self.step not in ("found", "cleaned", "check", "left"):
            raise StepRefused("skip", f"the step {self.step!r} cannot be left out")
        self._next()

    def wrote(self, says: Mapping[str, str]) -> None:
        """The instrument took it, and this is what it says now."""
        self.wrote_any = True
        if (point := self.point) is not None:
            point.says = dict(says)
        self._next()

    def not_written(self, why: str, *, perhaps: bool = True) -> None:
        """It did not, or nobody knows; the step stands."""
        self.wrote_any = self.wrote_any or perhaps
        self.problem = why[:TEXT_AT_MOST]

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────

    def verdict(self) -> tuple[str, list[str]]:
        """See gateway.calibration_entry."""
        return verdict(self.course())

    def finish(
        self, at_ms: int, *, photo: str = "", note: str = "", spread: bool = True
    ) -> tuple[dict[str, Any], list[Version]]:
        """The ledger's entry and the versions: see gateway.calibration_entry."""
        return entry(self.course(), at_ms, photo=photo, note=note, spread=spread)

    def course(self) -> Course:
        """What has been done so far."""
        left = "" if self.step == "finish" else self.step
        return Course(
            self.plan, self.by, self.began_ms, self.points, dict(self._found), self.adjusted, self.wrote_any,
            self.live, left, self.by_hand,
        )  # fmt: skip

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> None:
        self._steps.popleft()
        self._seen.clear()

    def _mean(
        self, given: Mapping[str, Any], *, must_be_stable: bool
    ) -> tuple[float, float, bool, list[float]]:
        """Raw, value, whether stable, and the values it was judged by."""
        criterion = self.criterion()
        stable, spread, covered_s = judge([(t, v) for t, _, v in self._seen], criterion)
        if not self._seen:
            raise StepRefused("no_reading", "there is no reading yet: wait for one")
        stable = stable or self.by_hand
        if must_be_stable and not stable and given.get("anyway") is not True:
            text = f"not stable yet: {spread:.3g} over {covered_s:.0f} s, allowed {criterion.within:g}"
            raise StepRefused("unstable", f"{text} over {criterion.over_s:g} s")
        end_s = self._seen[-1][0]
        last = [(r, v) for t, r, v in self._seen if t >= end_s - criterion.over_s]
        raw = math.fsum(r for r, _ in last) / len(last)
        value = math.fsum(v for _, v in last) / len(last)
        return raw, value, stable or not must_be_stable, [round(v, 6) for _, v in last][-60:]

    def _take_water(self, name: str, given: Mapping[str, Any]) -> None:
        _, value, _, _ = self._mean(given, must_be_stable=False)
        side = number_in(given, "side")
        self._found[name] = value
        if side is not None:
            self._found[f"{name}_side"] = side

    def _take_check(self, given: Mapping[str, Any]) -> None:
        point = self.point
        if point is None:
            return
        raw, value, stable, readings = self._mean(given, must_be_stable=True)
        worth = self._worth(point, given)
        most = 1.5 if self.plan.quantity == "ph" else max(10.0, 0.6 * abs(worth[0]))
        if abs(value - worth[0]) > most and given.get("anyway") is not True:
            text = f"it reads {value:.4g} in {worth[0]:.4g}: is it in the right bottle?"
            raise StepRefused("wrong_bottle", text)
        point.value, point.source, point.temperature_degc = worth
        point.raw, point.found, point.stable, point.readings = raw, value, stable, readings

    def _worth(self, point: Point, given: Mapping[str, Any]) -> tuple[float, str, float | None]:
        lot, expires = text_in(given, "lot") or point.lot, text_in(given, "expires") or point.expires
        if expires and expired(expires, self.began_ms) and given.get("anyway") is not True:
            raise StepRefused("expired", f"the standard {point.nominal:g} was good until {expires}")
        temperature = number_in(given, "temperature_degc")
        temperature = self._temperature if temperature is None else temperature
        own = number_in(given, "value")
        if own is not None:
            worth, source = own, "as the bottle's table says"
        else:
            worth, source = standard_value(self.plan.quantity, point.nominal, temperature)
        point.lot, point.expires = lot, expires
        return worth, source, temperature

    def _may_stay(self) -> bool:
        done = [p for p in self.points if p.found is not None]
        return bool(done) and all(keeps(self.plan.quantity, p.value, p.found or 0.0) for p in done)

    def _decide(self, given: Mapping[str, Any]) -> None:
        adjust = given.get("adjust")
        if not isinstance(adjust, bool):
            raise StepRefused("decide", "say adjust = true or false")
        if not adjust:
            self._next()
            return
        done = [p for p in self.points if p.found is not None and p.raw is not None]
        wants = self.plan.calibrates
        if wants is not None and wants.way == "points":
            if wrong := wants.wrong([p.nominal for p in done]):
                raise StepRefused("standards", wrong)
            order = wants.order([p.nominal for p in done])
            where = [next(i for i, p in enumerate(self.points) if p.nominal == n) for n in order]
            self._next()
            if wants.least > 1:  # it goes by its new points only when it has all of them
                self._steps += [("adjust", i) for i in where] + [("left", where[-1])]
            else:
                self._steps += [(name, i) for i in where for name in ("adjust", "left")]
            self.adjusted = True
            return
        try:
            made = fit([(p.raw or 0.0, p.value) for p in done], self.plan.fit)
        except BadPoints as e:
            raise StepRefused("points", str(e)) from e
        if wants is not None:
            self._next()
            self._steps += [("adjust", self.points.index(done[-1])), ("left", self.points.index(done[-1]))]
        else:
            plan = self.plan
            basis = f"{len(done)} point(s), {self.plan.fit if len(done) > 2 else 'exact'}"
            about = {"sensor": plan.sensor, "quantity": plan.quantity, "basis": basis, "by": self.by}
            self.live = msgspec.convert(about | made | {"number": 0, "from_ms": 0}, Version)
            for p in done:
                p.left = simple(self.live, p.raw or 0.0)
            self._next()
        self.adjusted = True

    def _adjust(self, given: Mapping[str, Any]) -> Write:
        point = self.point
        if given.get("confirm") is not True or point is None:
            raise StepRefused("confirm", "this writes into the instrument: confirm it")
        wants = self.plan.calibrates
        if wants is not None and wants.way == "coefficients":
            done = [p for p in self.points if p.found is not None and p.raw is not None]
            try:
                made = fit([(p.raw or 0.0, p.value) for p in done], "least-squares")
            except BadPoints as e:
                raise StepRefused("points", str(e)) from e
            return Write(line=(float(str(made.get("slope", 1.0))), float(str(made["offset"]))))
        self._mean(given, must_be_stable=True)
        return Write(point.nominal, point.value)

    def _take_left(self, given: Mapping[str, Any]) -> None:
        point = self.point
        if point is not None:
            _, point.left, stable, _ = self._mean(given, must_be_stable=True)
            point.stable = point.stable and stable
