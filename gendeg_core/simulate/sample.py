"""From a request to a simulated degradation: draw, solve for mu, keep the nearest to (mu, sigma)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendeg_core.scatter.draw import integer, uniform
from gendeg_core.scatter.fields import resize
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.simulate.registry import FAMILIES, family_named
from gendeg_core.simulate.strength import LaidOut, Render, solve_strength
from gendeg_core.statistics import measure
from gendeg_core.types import Degradation, DegradationRequest

SEARCH_SIZE = 192  # short side at which candidates are compared
CLOSE_ENOUGH = 0.002  # error of mu after which the full-size strength is left alone
_REDRAWS = 4
_LARGE = 2_000_000  # pixels from which each render costs seconds


@dataclass(frozen=True)
class Simulated:
    """One simulated degradation: the image (3, H, W), the family that made it, and its strength.

    Args:
        layout: where `random_pair` was asked for it, of raindrops where they are (`Pane.layout`), of motion
            blur how all moves (`gendeg_core.scatter.motion`); (3, H, W) in [-1, 1].
    """

    degraded: Tensor
    family: str
    strength: float
    layout: Tensor | None = None


def simulate(
    clean: Tensor, request: DegradationRequest, *, family: str | None = None, candidates: int = 8
) -> Simulated:
    """Degrade `clean` as near to the asked (mu, sigma) as the physics allows.

    Each candidate draws a family and its parameters from a seed derived from `request.seed`; its strength is
    solved for mu on a reduced copy, and the candidate nearest to (mu, sigma) is rendered at full size.

    Args:
        clean: (3, H, W) in [0, 1], any size.
        family: keep to this family instead of drawing one.
        candidates: how many parameter sets to compare, >= 1.
    """
    _check(clean)
    if candidates < 1:
        raise ValueError(f"candidates={candidates} is below 1; ask for at least one")
    names = [family] if family is not None else list(FAMILIES[request.degradation])
    for name in names:
        family_named(request.degradation, name)
    photo = clean.float()
    small = _reduced(photo)
    best = min(
        (_candidate(small, request, names, number) for number in range(candidates)),
        key=lambda candidate: candidate.distance,
    )
    draw = FAMILIES[request.degradation][best.family]
    render = draw(photo, torch_generator(best.seed))
    degraded, strength = _match_mu(render, photo, request.mu, best.strength)
    return Simulated(degraded.to(clean.dtype), best.family, strength)


def random_pair(
    clean: Tensor,
    degradation: Degradation,
    generator: torch.Generator,
    *,
    mu: float | None = None,
    families: Sequence[str] | None = None,
    layouts: bool = False,
) -> Simulated:
    """One random degradation of a training crop, fast: few renders, no search over candidates.

    Args:
        clean: (3, S, S) in [0, 1].
        mu: solve for this mean change (to about 0.003); None draws the strength at random.
        families: draw among these; None means all of the degradation.
        layouts: return the layout too, where the degradation has one.
    """
    _check(clean)
    names = list(families) if families is not None else list(FAMILIES[degradation])
    photo = clean.float()
    strength, name, degraded, render = 0.0, names[0], photo, None
    # A pattern may be too weak for mu even at full strength; a few fresh ones are cheap.
    for _ in range(_REDRAWS if mu is not None else 1):
        name = names[integer(generator, 0, len(names) - 1)]
        render = family_named(degradation, name)(photo, generator)
        if mu is None:
            strength = uniform(generator, 0.05, 1.0)
        else:
            strength = solve_strength(render, photo, mu, tolerance=0.003, renders=6)
        degraded = render(strength)
        if strength < 1:
            break
    layout = render.layout(strength) if layouts and isinstance(render, LaidOut) else None
    return Simulated(degraded.to(clean.dtype), name, strength, layout)


@dataclass(frozen=True)
class _Candidate:
    family: str
    seed: int
    strength: float
    distance: float


def _candidate(small: Tensor, request: DegradationRequest, names: list[str], number: int) -> _Candidate:
    seed = sample_seed(request.seed, f"simulate/{request.degradation.value}/{number}")
    # Families take turns, starting anywhere: every one of them gets its chance.
    name = names[(number + sample_seed(request.seed, "family")) % len(names)]
    render = FAMILIES[request.degradation][name](small, torch_generator(seed))
    strength = solve_strength(render, small, request.mu, tolerance=CLOSE_ENOUGH, renders=8)
    change = (render(strength) - small).abs()
    distance = math.hypot(change.mean().item() - request.mu, change.std(correction=0).item() - request.sigma)
    return _Candidate(name, seed, strength, distance)


def _match_mu(render: Render, photo: Tensor, mu: float, strength: float) -> tuple[Tensor, float]:
    """Correct the strength by the secant rule until mu, measured as published, is met at full size."""
    degraded = render(strength)
    corrections = 1 if photo[0].numel() > _LARGE else 4
    known = [(0.0, 0.0), (strength, measure(photo, degraded)[0])]
    best_error = abs(known[-1][1] - mu)
    best = degraded, strength
    for _ in range(corrections):
        if best_error <= CLOSE_ENOUGH:
            break
        (s0, mu0), (s1, mu1) = known[-2:]
        if abs(mu1 - mu0) < 1e-6:
            break
        trial = min(1.0, max(0.0, s1 + (mu - mu1) * (s1 - s0) / (mu1 - mu0)))
        if trial == s1:
            break
        degraded = render(trial)
        known.append((trial, measure(photo, degraded)[0]))
        error = abs(known[-1][1] - mu)
        if error < best_error:
            best, best_error = (degraded, trial), error
    return best


def _reduced(photo: Tensor) -> Tensor:
    height, width = photo.shape[-2:]
    factor = min(1.0, SEARCH_SIZE / min(height, width))
    return resize(photo, max(1, round(height * factor)), max(1, round(width * factor)))


def _check(clean: Tensor) -> None:
    if clean.ndim != 3 or clean.shape[0] != 3 or clean[0].numel() == 0:
        raise ValueError(f"the clean image has shape {tuple(clean.shape)}; pass one RGB image (3, H, W)")
