"""From a model's name to an emulated instrument that lives in a `World`."""

from __future__ import annotations

from drivers.emulators.atlas import Atlas
from drivers.emulators.base import Emulator
from drivers.emulators.modbus_models import unit_for
from drivers.emulators.modbus_unit import Sense
from drivers.emulators.plantower import Plantower
from drivers.emulators.sds011 import Sds011
from drivers.emulators.sps30 import Sps30
from drivers.emulators.world import World


def make(model: str, address: int | None, world: World, name: str, framing: str = "rtu") -> Emulator:
    """An emulated instrument of a model, warm. Raises ValueError for a model that is not emulated."""
    if model == "plantower":
        return Plantower(plantower_sense(world), name=name, warm_up_s=0.0)
    if model == "sds011":
        return Sds011(world.value, name=name, warm_up_s=0.0)
    if model == "sps30":
        return Sps30(world.value, name=name)
    if model == "atlas":
        return Atlas(world.value, name=name)
    return unit_for(model, address or 1, world.value, name, framing=framing)


def plantower_sense(world: World) -> Sense:
    """What a Plantower says of the same air: it counts particles larger than a size, others smaller than it.

    Its "CF=1" masses are higher than the atmospheric ones in thick air, by half from 100 ug/m3 on. That ratio
    is seen in the field and not published by the maker.
    """

    def sense(quantity: str, t_s: float) -> float:
        if quantity.startswith("n") and quantity[1:2].isdigit():
            return world.count_above(float(quantity[1:].replace("_", ".")), t_s)
        if quantity.endswith("_cf1"):
            mass = world.value(quantity.removesuffix("_cf1"), t_s)
            return mass * (1 + 0.5 * min(1.0, max(0.0, (mass - 30) / 70)))
        return world.value(quantity, t_s)

    return sense
