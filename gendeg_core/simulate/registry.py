"""All simulator families, by degradation: the one list that names them."""

from __future__ import annotations

from gendeg_core.simulate import haze, low_light, motion_blur, rain, raindrop, snow
from gendeg_core.simulate.strength import Family
from gendeg_core.types import Degradation

FAMILIES: dict[Degradation, dict[str, Family]] = {
    Degradation.HAZE: {
        "homogeneous": haze.homogeneous,
        "patchy": haze.patchy,
        "layered": haze.layered,
    },
    Degradation.RAIN: {
        "streaks": rain.streaks,
        "drizzle": rain.drizzle,
        "downpour": rain.downpour,
    },
    Degradation.SNOW: {
        "flakes": snow.flakes,
        "large_flakes": snow.large_flakes,
        "blizzard": snow.blizzard,
    },
    Degradation.MOTION_BLUR: {
        "shake": motion_blur.shake,
        "linear": motion_blur.linear,
        "moving_object": motion_blur.moving_object,
        "rotation_zoom": motion_blur.rotation_zoom,
    },
    Degradation.LOW_LIGHT: {
        "sensor": low_light.sensor,
        "dimmed": low_light.dimmed,
        "night": low_light.night,
    },
    Degradation.RAINDROP: {
        "drops": raindrop.drops,
        "blurred_drops": raindrop.blurred_drops,
        "running": raindrop.running,
    },
}


def family_named(degradation: Degradation, name: str) -> Family:
    """The family of `degradation` called `name`; ValueError with the known names otherwise."""
    families = FAMILIES[degradation]
    if name not in families:
        known = ", ".join(families)
        raise ValueError(f"unknown {degradation.value} family {name!r}; choose one of {known}")
    return families[name]
