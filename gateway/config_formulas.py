"""The formulas of [sensor.correct.<quantity>]."""

from __future__ import annotations

FORMULAS = {
    "barkjohn-2021": ("humidity", "pm2_5", "humidity"),
    "conductivity-25": ("temperature", "conductivity", "water_temperature"),
    "nernst": ("temperature", "ph", "water_temperature"),
}
"""Formula: its kind, the quantity it corrects, and the quantity it needs beside it."""
"""Formula: the kind of version it is, the quantity it corrects, and the quantity beside it."""
