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

from gendeg_core.generate.experts import Expert
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
    return Sampler(pipeline.scheduler, steps, pipeline._execution_device, last=last)


@torch.no_grad()
def paint_detail(
    pipeline: GenDegPipeline,
    photo: Tensor,
    painted: Tensor,
    request: DegradationRequest,
    guidance: Guidance,
    expert: Expert | None = None,
) -> Iterator[Tensor | None]:
    """Paint again at one size; yields None after each step and the painted image last.

    Args:
        photo: the photo at this size, (3, H, W) in [0, 1].
        painted: the degraded photo enlarged to this size, the same shape.
        expert: who paints it, told of the layout at this size.
    """
    height, width = photo.shape[-2:]
    clean, start = (
        pad_to_multiple(x, pipeline.pixel_multiple)[None].to(pipeline._execution_device)
        for x in (photo, painted)
    )
    clean_latent = encode_in_tiles(pipeline, clean)
    signal = encode_in_tiles(pipeline, start) * pipeline.vae.config.scaling_factor
    generator = torch_generator(sample_seed(request.seed, f"detail {height}x{width}"))
    noise = torch.randn(signal.shape, generator=generator).to(signal)
    branches = pipeline.branches([request], guidance)
    sampler = detail_sampler(pipeline, guidance.steps)
    latents = sampler.dissolve(signal, noise)
    overlap, windows = OVERLAP // pipeline.fold, _windows(pipeline, signal)
    for t in sampler.timesteps:
        scaled = sampler.scale(latents, t)
        blend = Blend(latents[0], overlap)
        for rows, columns in windows:
            here = (..., rows, columns)
            told = expert and expert.at((rows, columns))
            tile = pipeline.guided(scaled[here], clean_latent[here], t, branches, told)
            blend.add((rows, columns), tile[0])
        latents = sampler.step(blend.result()[None], t, latents, [generator]).prev_sample
        yield None
    yield ((decode_in_tiles(pipeline, latents) + 1) / 2)[:, :height, :width].cpu()


def encode_in_tiles(pipeline: GenDegPipeline, image: Tensor) -> Tensor:
    """`encode_image` of a large image (1, 3, H, W), sides multiples of `fold`, in bounded memory."""
    height, width = (side // pipeline.fold for side in size_of(image))
    latents = image.new_empty(
        (1, pipeline.vae.config.latent_channels, height, width), dtype=pipeline.unet.dtype
    )
    blend = Blend(latents[0], OVERLAP // pipeline.fold)
    for window in _windows(pipeline, latents):
        blend.add(window, pipeline.encode_image(image[(..., *_pixels(window, pipeline.fold))])[0])
    return blend.result()[None]


def decode_in_tiles(pipeline: GenDegPipeline, latents: Tensor) -> Tensor:
    """`decode` of large latents (1, C, h, w) in bounded memory: an image (3, H, W) in [-1, 1]."""
    height, width = (side * pipeline.fold for side in size_of(latents))
    blend = Blend(latents.new_empty((3, height, width), dtype=torch.float32), OVERLAP)
    for window in _windows(pipeline, latents):
        blend.add(_pixels(window, pipeline.fold), pipeline.decode(latents[(..., *window)])[0])
    return blend.result()


def _windows(pipeline: GenDegPipeline, latents: Tensor) -> list[tuple[slice, slice]]:
    return tile_windows(*size_of(latents), TILE // pipeline.fold, OVERLAP // pipeline.fold)


def _pixels(window: tuple[slice, slice], fold: int) -> tuple[slice, slice]:
    """The pixels of a window of latents."""
    rows, columns = (slice(part.start * fold, part.stop * fold) for part in window)
    return rows, columns


def repaint(
    pipeline: GenDegPipeline,
    photo: Tensor,
    base: Tensor,
    painted: Tensor,
    request: DegradationRequest,
    guidance: Guidance,
) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Paint detail size by size; yields None after each step, last (photo, painted) of the last size."""
    smallest = size_of(base)
    for shape in detail_shapes(pipeline, size_of(photo), smallest, request.degradation):  # pyright: ignore[reportArgumentType]
        larger = resize(photo, shape)
        start = torch.cat([rows for _, rows in enlarge(larger, base, painted)], 1)
        expert = pipeline.expert([request], smallest, shape)
        for item in paint_detail(pipeline, larger, start, request, guidance, expert):
            if item is None:
                yield None
            else:
                base, painted = larger, item
        if pipeline.settings.match_intensity:
            painted = match_intensity(base, painted, request)
    yield base, painted
