"""Physical simulators of the six degradations: existing paired data, an instant engine and a yardstick."""

from gendeg_core.simulate.registry import FAMILIES
from gendeg_core.simulate.sample import Simulated, random_pair, simulate
from gendeg_core.simulate.strength import Family, Render, solve_strength

__all__ = ["FAMILIES", "Family", "Render", "Simulated", "random_pair", "simulate", "solve_strength"]
