"""Samples during training: a contact sheet and how far the obtained mu and sigma are from the asked ones."""

from __future__ import annotations

import torch
from torch import Tensor

from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.seeds import sample_seed
from gendeg_core.statistics import measure
from gendeg_core.types import MU_MAX, SIGMA_MAX, Degradation, DegradationRequest
from train.common.pairs import PairSource

PAIRS_EACH = 4


def sample_sheet(pipeline: GenDegPipeline, source: PairSource, seed: int) -> tuple[dict[str, float], Tensor]:
    """Ask for the intensity of some training pairs and paint it again.

    Returns:
        Mean absolute errors of mu and sigma per degradation, before intensity matching; and a sheet
        (rows, columns, 3, S, S): clean, simulated, generated side by side.
    """
    kinds = list(Degradation)
    pairs = [source.pair(seed, k) for k in range(PAIRS_EACH * len(kinds))]
    clean = torch.stack([pair["clean"] for pair in pairs]).float() / 255
    requests = [
        DegradationRequest(
            kinds[p["degradation"]],
            min(p["mu"], MU_MAX),
            min(p["sigma"], SIGMA_MAX),
            sample_seed(seed, k),
            p["caption"],
        )
        for k, p in enumerate(pairs)
    ]
    painted = torch.zeros_like(clean)
    steps = min(pipeline.settings.num_inference_steps, 20)
    for image in pipeline.sample(clean, requests, pipeline.guidance(steps)):
        if image is not None:
            painted = (image.cpu() + 1) / 2
    errors: dict[str, list[tuple[float, float]]] = {}
    for request, before, after in zip(requests, clean, painted, strict=True):
        mu, sigma = measure(before, after)
        error = (abs(mu - request.mu), abs(sigma - request.sigma))
        errors.setdefault(request.degradation.value, []).append(error)
    numbers = {}
    for kind, values in errors.items():
        numbers[f"mu_error_{kind}"] = sum(mu for mu, _ in values) / len(values)
        numbers[f"sigma_error_{kind}"] = sum(sigma for _, sigma in values) / len(values)
    simulated = torch.stack([pair["degraded"] for pair in pairs]).float() / 255
    sheet = torch.stack([clean, simulated, painted], 1)  # (N, 3, 3, S, S)
    order = sorted(range(len(pairs)), key=lambda k: pairs[k]["degradation"])
    rows = sheet[order].unflatten(0, (-1, PAIRS_EACH)).flatten(1, 2)
    return numbers, rows
