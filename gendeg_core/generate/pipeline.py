"""GenDegPipeline: latent diffusion that paints a degradation of asked mu and sigma onto a clean photo.

GenDeg (arXiv 2411.17687), section 3.1: InstructPix2Pix-style conditioning on the clean latent, on caption
plus degradation phrase, and on (mu, sigma). Any set of components of this kind runs through this class:
the small shipped one, one of Stable Diffusion's size, the converted published checkpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

# diffusers finds a stored component's class only in modules that are already imported.
from gendeg_core.generate.codec import PatchCodec  # noqa: F401
from gendeg_core.generate.detail import detail_sampler, detail_shapes, repaint
from gendeg_core.generate.experts import EXPERTS, Expert, draw_layout
from gendeg_core.generate.full_size import base_shape, enlarge, pad_to_multiple, resize, size_of
from gendeg_core.generate.intensity import IntensityProjection
from gendeg_core.generate.matching import match_intensity
from gendeg_core.generate.sampler import Sampler
from gendeg_core.generate.structure import StructureCorrection
from gendeg_core.generate.text_memory import TextMemory
from gendeg_core.generate.unet import ConditionedUNet  # noqa: F401
from gendeg_core.seeds import torch_generator
from gendeg_core.statistics import degradation_map, measure
from gendeg_core.types import Degradation, DegradationRequest, DegradationResult, Progress
from gendeg_core.weights import folder_identity

# These keep the photo as target and have their structure corrected; for the others the correction would smear
# streaks, flakes and dark texture, and the target is the VAE round trip of the photo instead (section 3.1).
STRUCTURE_CORRECTED = frozenset({Degradation.HAZE, Degradation.MOTION_BLUR, Degradation.RAINDROP})


@dataclass(frozen=True)
class Guidance:
    """How to sample: number of steps, weight of text and intensity, weight of the photo."""

    steps: int
    text: float
    image: float


class GenDegPipeline(DiffusionPipeline):
    """Degrades photos by latent diffusion.

    Args:
        vae: image codec with the interface of AutoencoderKL.
        text_encoder, tokenizer: caption and phrase to (B, 77, D), as CLIP's text model.
        unet: denoiser of [noisy latent, clean latent], context (B, 77, D).
        scheduler: any diffusers scheduler that fits the unet's prediction type.
        intensity: `stats_proj` and `cc_projection`.
        structure: structure correction module, or None for a codec that bends nothing.
        drop_unet, motion_unet: expert denoisers of raindrops and of motion blur, which also see where drops
            lie or how all moves, folded to the size of the latents (`gendeg_core.generate.experts`); None
            leaves the degradation to `unet`.
        guidance_scale, image_guidance_scale, num_inference_steps: defaults of a call; the paper's are 7.5,
            1.5 and 100.
        base_size: short side in pixels that the model works at.
        least_size: smaller photos are enlarged to this short side first.
        match_intensity: rescale the finished difference so that the obtained mu and sigma are the asked.
        detail_size: rain, snow, drops and blur are painted again in finer detail, doubling by doubling, up to
            this short side in pixels; 0 leaves it at the base size.
        detail_strength: how far back towards noise each of these passes starts, 0 to 1.
    """

    model_cpu_offload_seq = "text_encoder->intensity->unet->drop_unet->motion_unet->vae->structure"
    _optional_components = ["structure", "drop_unet", "motion_unet"]  # noqa: RUF012

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        intensity: IntensityProjection,
        structure: StructureCorrection | None = None,
        drop_unet: Any = None,
        motion_unet: Any = None,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        num_inference_steps: int = 100,
        base_size: int = 512,
        least_size: int = 256,
        match_intensity: bool = False,
        detail_size: int = 0,
        detail_strength: float = 0.35,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            intensity=intensity,
            structure=structure,
            drop_unet=drop_unet,
            motion_unet=motion_unet,
        )
        self.register_to_config(
            guidance_scale=guidance_scale,
            image_guidance_scale=image_guidance_scale,
            num_inference_steps=num_inference_steps,
            base_size=base_size,
            least_size=least_size,
            match_intensity=match_intensity,
            detail_size=detail_size,
            detail_strength=detail_strength,
        )
        self.weights_identity = "unnamed"
        # For those who make many pictures: embeddings kept from call to call, and a clock for the stages.
        self.text_memory: TextMemory | None = None
        self.stage: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Self:
        """As any diffusers pipeline; of a folder, the weights' identity is known as well."""
        pipeline = super().from_pretrained(pretrained_model_name_or_path, **options)
        if Path(pretrained_model_name_or_path).is_dir():
            pipeline.weights_identity = folder_identity(Path(pretrained_model_name_or_path))
        return pipeline

    @property
    def settings(self) -> Any:
        """The registered configuration; diffusers lets its values be read as attributes."""
        return self.config

    @property
    def fold(self) -> int:
        """Pixels along one side of what a position of the latents stands for."""
        return getattr(self.vae.config, "patch", None) or 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def pixel_multiple(self) -> int:
        """Image sides at base size are padded to a multiple of this many pixels."""
        return self.fold * 2 ** (len(self.unet.config.block_out_channels) - 1)

    # ------------------------------------------------------------------ conditions

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings (B, 77, D)."""
        if self.text_memory is not None:
            return self.text_memory.recall(prompts, self._encode_text)
        return self._encode_text(prompts)

    def _encode_text(self, prompts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self.text_encoder(tokens.input_ids.to(self._execution_device))[0]

    def context(self, requests: Sequence[DegradationRequest]) -> Tensor:
        """Context (B, 77, D) of text, mu and sigma."""
        stats = self.intensity.encode([r.mu for r in requests], [r.sigma for r in requests])
        return self.intensity(self.encode_text([r.prompt for r in requests]), stats)

    def null_context(self) -> Tensor:
        """Context (1, 77, D) of the empty text and the null bins."""
        return self.intensity(self.encode_text([""]), self.intensity.encode([None], [None]))

    def encode_image(self, images: Tensor) -> Tensor:
        """The clean photo's latent, unscaled mode of the posterior; (B, 3, H, W) in [0, 1]."""
        with self.stage("encode"):
            return self.vae.encode((2 * images - 1).to(self.unet.dtype)).latent_dist.mode()

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to images in [-1, 1]."""
        with self.stage("decode"):
            return self.vae.decode(latents / self.vae.config.scaling_factor).sample.float().clamp(-1, 1)

    def denoiser(self, degradation: Degradation) -> Any:
        """Who paints this degradation: its expert, or `unet` where there is none."""
        name = EXPERTS.get(degradation)
        expert = getattr(self, name) if name is not None else None
        return self.unet if expert is None else expert

    def expert(
        self, requests: Sequence[DegradationRequest], base: tuple[int, int], shape: tuple[int, int]
    ) -> Expert | None:
        """The expert that paints these requests, told of their layouts; None if `unet` does.

        Args:
            base: the picture's base shape, which the same layouts are drawn for at every size.
            shape: of the layouts; they are padded to `pixel_multiple` and folded as the latents are.

        Raises:
            ValueError: they are for several denoisers.
        """
        denoisers = [self.denoiser(request.degradation) for request in requests]
        unet = denoisers[0]
        if any(other is not unet for other in denoisers):
            asked = ", ".join(sorted({request.degradation.value for request in requests}))
            raise ValueError(f"{asked} have denoisers of their own here; sample each in a batch of its own")
        if unet is self.unet:
            return None
        drawn = torch.stack([draw_layout(request, *base)(*shape) for request in requests])
        padded = pad_to_multiple(drawn, self.pixel_multiple)
        return Expert(unet, F.pixel_unshuffle(padded, self.fold).to(self._execution_device, self.unet.dtype))

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def sample(
        self,
        clean: Tensor,
        requests: Sequence[DegradationRequest],
        guidance: Guidance | None = None,
        *,
        sources: Sequence[int] | None = None,
        shape: tuple[int, int] | None = None,
        previews: bool = False,
    ) -> Iterator[Tensor | None]:
        """Denoise one batch; yields after each step the previewed image (or None), last the result.

        Args:
            clean: (B, 3, H, W) in [0, 1], sides divisible by `pixel_multiple`.
            requests: all for one denoiser.
            sources: which of the photos each request degrades, where it is not one each.
            shape: height and width without padding; None if there is none.
            guidance: None means the pipeline's defaults.

        Yields:
            (B, 3, H, W) in [-1, 1].
        """
        guidance = guidance or self.guidance()
        clean_latent = self.encode_image(clean.to(self._execution_device))
        if sources is not None:
            clean_latent = clean_latent[list(sources)]
        branches = self.branches(requests, guidance)
        shape = shape or size_of(clean)
        expert = self.expert(requests, shape, shape)
        generators = [torch_generator(request.seed) for request in requests]
        latents = torch.stack([torch.randn(clean_latent.shape[1:], generator=g) for g in generators])
        sampler = Sampler(self.scheduler, guidance.steps, self._execution_device)
        latents = sampler.start(latents.to(clean_latent))
        for index, t in enumerate(sampler.timesteps, 1):
            prediction = self.guided(sampler.scale(latents, t), clean_latent, t, branches, expert)
            step = sampler.step(prediction, t, latents, generators)
            shown = None
            if index == len(sampler.timesteps):
                shown = step.prev_sample
            elif previews:
                shown = sampler.clean_estimate(step, prediction, t, latents)
            latents = step.prev_sample
            yield None if shown is None else self.decode(shown)

    def guidance(
        self, steps: int | None = None, text: float | None = None, image: float | None = None
    ) -> Guidance:
        """The given values, the pipeline's defaults where None."""
        return Guidance(
            self.settings.num_inference_steps if steps is None else steps,
            self.settings.guidance_scale if text is None else text,
            self.settings.image_guidance_scale if image is None else image,
        )

    def branches(
        self, requests: Sequence[DegradationRequest], guidance: Guidance
    ) -> list[tuple[float, Tensor, float]]:
        """(weight, context, image switch) of each term of three-way guidance; terms of weight 0 are left out.

        D(null, 0) + s_text [D(full) - D(null, image)] + s_image [D(null, image) - D(null, 0)], regrouped.
        """
        null = self.null_context().expand(len(requests), -1, -1)
        terms = [
            (guidance.text, self.context(requests), 1.0),
            (guidance.image - guidance.text, null, 1.0),
            (1 - guidance.image, null, 0.0),
        ]
        return [term for term in terms if term[0] != 0]

    def guided(
        self,
        scaled: Tensor,
        clean_latent: Tensor,
        t: Tensor,
        branches: list[tuple[float, Tensor, float]],
        expert: Expert | None = None,
    ) -> Tensor:
        """The guided prediction for scaled noisy latents; all branches go through the network at once.

        Args:
            expert: answers in place of `unet`.
        """
        unet, told = (self.unet, []) if expert is None else (expert.unet, [expert.layouts])
        inputs = torch.cat(
            [torch.cat([scaled, switch * clean_latent, *told], 1) for _, _, switch in branches]
        )
        contexts = torch.cat([context for _, context, _ in branches]).to(inputs.dtype)
        outputs = unet(inputs, t, encoder_hidden_states=contexts).sample.chunk(len(branches))
        return torch.stack([weight * out for (weight, _, _), out in zip(branches, outputs, strict=True)]).sum(
            0
        )

    # ------------------------------------------------------------------ photos in, results out

    def iterate(
        self,
        cleans: Sequence[Tensor],
        requests: Sequence[DegradationRequest],
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        image_guidance_scale: float | None = None,
        max_batch: int = 8,
        previews: bool = False,
    ) -> Iterator[Progress | list[DegradationResult]]:
        """Degrade photos of any sizes; yields `Progress` as it goes and the list of results last.

        Photos of one shape that one denoiser paints go together. Close the iterator to cancel between steps.

        Args:
            cleans: photos, each (3, H, W) in [0, 1]; the same tensor given several times is encoded
                once for each denoiser.
            requests: one for each photo.
            num_inference_steps, guidance_scale, image_guidance_scale: None means the pipeline's own default.
            max_batch: photos in one pass, a bound on memory; it never changes a picture.
            previews: put the current estimate of the first photo into each `Progress`.

        Raises:
            ValueError: the two lists differ in length, or a photo has another shape than (3, H, W).
        """
        _check_photos(cleans, requests)
        guidance = self.guidance(num_inference_steps, guidance_scale, image_guidance_scale)
        batches = self._batches(cleans, requests, max_batch)
        # A scheduler of second order calls the network more often than it has steps.
        calls = len(Sampler(self.scheduler, guidance.steps, self._execution_device).timesteps)
        total = len(batches) * calls + len(cleans)
        for shape, members in batches:
            total += sum(self._detail_units(cleans[i], shape, requests[i], guidance) for i in members)
        done, results = 0, {}
        for shape, members in batches:
            photos, sources = _distinct([cleans[i] for i in members])
            bases = [resize(photo.float(), shape) for photo in photos]
            padded = torch.stack([pad_to_multiple(base, self.pixel_multiple) for base in bases])
            round_trips = [cache(partial(self._round_trip, clean)) for clean in padded]
            painted = None
            asked = [requests[i] for i in members]
            for painted in self.sample(
                padded, asked, guidance, sources=sources, shape=shape, previews=previews
            ):
                done += 1
                preview = None if painted is None else (painted[0, :, : shape[0], : shape[1]].cpu() + 1) / 2
                yield Progress(done, total, preview if previews else None)
            assert painted is not None, "a sampler yields its result last"
            for i, k, one in zip(members, sources, painted, strict=True):
                photo = _Photo(cleans[i], bases[k], padded[k], round_trips[k])
                for item in self._finish(photo, one, requests[i], guidance):
                    if item is not None:
                        results[i] = item
                    done += 1
                    yield Progress(done, total)
        yield [results[i] for i in range(len(cleans))]

    def __call__(
        self, cleans: Sequence[Tensor], requests: Sequence[DegradationRequest], **options: Any
    ) -> list[DegradationResult]:
        """Degrade photos; the arguments are those of `iterate`."""
        results: list[DegradationResult] = []
        bar_of: Any = self.progress_bar
        with bar_of(total=1) as bar:
            for item in self.iterate(cleans, requests, **options):
                if isinstance(item, list):
                    results = item
                else:
                    bar.total = item.total
                    bar.update(item.done - bar.n)
        return results

    def _batches(
        self, cleans: Sequence[Tensor], requests: Sequence[DegradationRequest], size: int
    ) -> list[tuple[tuple[int, int], list[int]]]:
        """Photos of one base shape that one denoiser paints, at most `size` together."""
        shapes = [
            base_shape(*size_of(clean), self.settings.base_size, self.settings.least_size) for clean in cleans
        ]
        groups: dict[tuple[tuple[int, int], int], list[int]] = {}
        for i, shape in enumerate(shapes):
            groups.setdefault((shape, id(self.denoiser(requests[i].degradation))), []).append(i)
        return [(s, m[k : k + size]) for (s, _), m in groups.items() for k in range(0, len(m), size)]

    def _detail_units(
        self, photo: Tensor, base: tuple[int, int], request: DegradationRequest, guidance: Guidance
    ) -> int:
        sizes = detail_shapes(self, size_of(photo), base, request.degradation)
        return len(sizes) * len(detail_sampler(self, guidance.steps).timesteps)

    @torch.no_grad()
    def _finish(
        self, source: _Photo, painted: Tensor, request: DegradationRequest, guidance: Guidance
    ) -> Iterator[DegradationResult | None]:
        """Structure, target, intensity, detail and size of one painted image; the result comes last.

        Args:
            painted: (3, h, w) in [-1, 1] at the padded size.
        """
        photo, base = source.full, source.base
        height, width = base.shape[-2:]
        corrected = request.degradation in STRUCTURE_CORRECTED
        if corrected and self.structure is not None:
            pair = torch.stack([(2 * source.padded - 1).to(painted), painted]).to(self.structure.dtype)
            with self.stage("structure"):
                painted = self.structure(pair[:1], pair[1:])[0].float().clamp(-1, 1)
        reference = base
        if not corrected:  # the codec bends the scene; the target has to be bent the same way
            reference = source.round_trip()[:, :height, :width]
        degraded = ((painted + 1) / 2)[:, :height, :width].cpu()
        if self.settings.match_intensity:
            degraded = match_intensity(base, degraded, request)
        target = photo if corrected else torch.cat([r for _, r in enlarge(photo, base, reference)], 1)
        for item in repaint(self, photo.float(), reference, degraded, request, guidance):
            if item is None:
                yield None
            else:
                reference, degraded = item
        full = torch.cat([rows for _, rows in enlarge(photo, reference, degraded)], 1)
        mu, sigma = measure(photo, full)
        yield DegradationResult(
            request=request,
            degraded=full,
            target=target,
            degradation_map=degradation_map(photo, full),
            mu_obtained=mu,
            sigma_obtained=sigma,
            weights=self.weights_identity,
        )

    def _round_trip(self, padded: Tensor) -> Tensor:
        """What the codec makes of a photo (3, h, w), on the CPU."""
        latent = self.encode_image(padded[None].to(self._execution_device)) * self.vae.config.scaling_factor
        return ((self.decode(latent)[0] + 1) / 2).cpu()


@dataclass(frozen=True)
class _Photo:
    """A photo at its own size, at base size, padded, and its way through the codec (padded)."""

    full: Tensor
    base: Tensor
    padded: Tensor
    round_trip: Callable[[], Tensor]


def _distinct(photos: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The different tensors among `photos` and, for each entry, which of them it is."""
    places: dict[int, int] = {}
    sources = [places.setdefault(id(photo), len(places)) for photo in photos]
    return [photos[sources.index(k)] for k in range(len(places))], sources


def _check_photos(cleans: Sequence[Tensor], requests: Sequence[DegradationRequest]) -> None:
    if len(cleans) != len(requests):
        raise ValueError(f"got {len(cleans)} photos but {len(requests)} requests; give one request per photo")
    for clean in cleans:
        if clean.ndim != 3 or clean.shape[0] != 3 or 0 in clean.shape:
            raise ValueError(f"a photo has shape {tuple(clean.shape)}; it must be (3, height, width)")
