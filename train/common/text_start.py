"""A head start for the small text encoder: the degradation phrase must be heard from the first step on.

One phrase among 77 tokens of a random text encoder moves the denoiser's condition by a few per cent, while mu
and sigma move it a lot; left alone, training infers the degradation from the intensities and paints rain,
snow and drops alike. Here the text side first learns to add a vector of its own for each degradation.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gendeg_core.statistics import draw_intensity
from gendeg_core.types import Degradation, prompt
from train.common.gendeg_components import Components

BATCH, RATE = 48, 1e-3


def teach_degradations(parts: Components, captions: Sequence[str], steps: int, seed: int) -> float:
    """Train the text side until the condition is the old one plus a vector of the degradation.

    The vectors are random, as large as the condition varies by itself. Prompts are drawn from `captions` (a
    third without caption, a tenth without any text), intensities from the published histograms.

    Returns:
        Mean squared error of the last tenth of the steps over the variance of the vectors.
    """
    modules = torch.nn.ModuleList([parts.text_encoder, parts.intensity, parts.unet.context])
    former = copy.deepcopy(modules).requires_grad_(False)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        spread = float(_condition(former, parts, *_draw(captions, rng)[:3]).std(0).mean())
    kinds = list(Degradation)
    generator = torch.Generator().manual_seed(seed)
    vectors = spread * torch.randn(len(kinds) + 1, parts.unet.config.condition_dim, generator=generator)
    vectors[-1] = 0  # no text, no degradation
    optimiser = torch.optim.Adam(modules.parameters(), RATE)
    errors = []
    for step in range(steps):
        prompts, mu, sigma, chosen = _draw(captions, rng)
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        with torch.no_grad():
            target = _condition(former, parts, prompts, mu, sigma) + vectors[chosen]
        loss = (_condition(modules, parts, prompts, mu, sigma) - target).square().mean() / spread**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    return float(np.mean(errors[-max(steps // 10, 1) :]))


def _condition(
    modules: torch.nn.ModuleList, parts: Components, prompts: list[str], mu: list, sigma: list
) -> Tensor:
    text_encoder, intensity, pooling = modules
    tokens = parts.tokenizer(
        prompts, padding="max_length", truncation=True, return_tensors="pt", max_length=77
    ).input_ids
    stats = parts.intensity.encode(mu, sigma)
    return pooling(intensity(text_encoder(tokens)[0], stats))


def _draw(captions: Sequence[str], rng: np.random.Generator) -> tuple[list[str], list, list, list[int]]:
    prompts, mu, sigma, chosen = [], [], [], []
    kinds = list(Degradation)
    for _ in range(BATCH):
        k = int(rng.integers(len(kinds)))
        drawn = draw_intensity(kinds[int(rng.integers(len(kinds)))], rng)
        caption = "" if not captions or rng.random() < 1 / 3 else captions[int(rng.integers(len(captions)))]
        null = rng.random() < 0.1
        prompts.append("" if null else prompt(caption, kinds[k]))
        mu.append(None if null else drawn.mu)
        sigma.append(None if null else drawn.sigma)
        chosen.append(len(kinds) if null else k)
    return prompts, mu, sigma, chosen
