"""Detail above the base size: the painted photo is enlarged, partly dissolved in noise and painted again.

Haze and low light are global: they are enlarged as they are and stay coherent. Streaks, flakes, drops and
blur need structure of their own at every scale, so each doubling of the size runs the end of the sampler
again (SDEdit, Meng et al. 2022), over tiles blended at every step (MultiDiffusion, Bar-Tal et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gendeg_core.generate.full_size import enlarge, pad_to_multiple, resize, size_of
from gendeg_core.generate.matching import match_intensity
from gendeg_core.generate.sampler import Sampler
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.tiles import Blend, doublings, tile_windows
from gendeg_core.types import Degradation, DegradationRequest

if TYPE_CHECKING:
    from gendeg_core.generate.pipeline import GenDegPipeline, Guidance

TILE, OVERLAP = 384, 64  # pixels


def detail_shapes(
    pipeline: GenDegPipeline, photo: tuple[int, int], base: tuple[int, int], degradation: Degradation
) -> list[tuple[int, int]]:
    """Sizes at which the photo is painted again, smallest first; empty when its base size is its own."""
    if degradation.is_global or min(photo) <= min(base):
        return []
    return list(doublings(base, photo, pipeline.settings.detail_size))


def detail_sampler(pipeline: GenDegPipeline, steps: int) -> Sampler:
    """The sampler of one detail pass: the last few of `steps` steps."""
    last = max(round(steps * pipeline.settings.detail_strength), 1)
    return Sampler(pipeline.scheduler, steps, pipeline.device, last=last)


@torch.no_grad()
def paint_detail(
    pipeline: GenDegPipeline, photo: Tensor, painted: Tensor, request: DegradationRequest, guidance: Guidance
) -> Iterator[Tensor | None]:
    """Paint again at one size; yields None after each step and the painted image last.

    Args:
        photo: the photo at this size, (3, H, W) in [0, 1].
        painted: the degraded photo enlarged to this size, the same shape.
    """
    height, width = photo.shape[-2:]
    clean, start = (
        pad_to_multiple(x, pipeline.pixel_multiple)[None].to(pipeline.device) for x in (photo, painted)
    )
    clean_latent = pipeline.encode_image(clean)
    signal = pipeline.encode_image(start) * pipeline.vae.config.scaling_factor
    generator = torch_generator(sample_seed(request.seed, f"detail {height}x{width}"))
    noise = torch.randn(signal.shape, generator=generator).to(signal)
    branches = pipeline.branches([request], guidance)
    sampler = detail_sampler(pipeline, guidance.steps)
    latents = sampler.dissolve(signal, noise)
    fold = clean.shape[-1] // signal.shape[-1]
    windows = tile_windows(*size_of(signal), TILE // fold, OVERLAP // fold)
    for t in sampler.timesteps:
        scaled = sampler.scale(latents, t)
        blend = Blend(latents[0], OVERLAP // fold)
        for rows, columns in windows:
            here = (..., rows, columns)
            tile = pipeline.guided(scaled[here], clean_latent[here], t, branches)
            blend.add((rows, columns), tile[0])
        latents = sampler.step(blend.result()[None], t, latents, [generator]).prev_sample
        yield None
    yield ((pipeline.decode(latents)[0] + 1) / 2)[:, :height, :width].cpu()


def repaint(
    pipeline: GenDegPipeline,
    photo: Tensor,
    base: Tensor,
    painted: Tensor,
    request: DegradationRequest,
    guidance: Guidance,
) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Paint detail size by size; yields None after each step, last (photo, painted) of the last size."""
    for shape in detail_shapes(pipeline, size_of(photo), size_of(base), request.degradation):  # pyright: ignore[reportArgumentType]
        larger = resize(photo, shape)
        start = torch.cat([rows for _, rows in enlarge(larger, base, painted)], 1)
        for item in paint_detail(pipeline, larger, start, request, guidance):
            if item is None:
                yield None
            else:
                base, painted = larger, item
        if pipeline.settings.match_intensity:
            painted = match_intensity(base, painted, request)
    yield base, painted
