"""The parts of a GenDeg to be trained: small ones from nothing, paper-size ones from Stable Diffusion 1.5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from gendeg_core.generate.codec import PatchCodec
from gendeg_core.generate.experts import EXPERTS
from gendeg_core.generate.intensity import IntensityProjection
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.generate.published_sizes import (
    PublishedSizes,
    scheduler_config,
    text_config,
    unet_config,
    vae_config,
)
from gendeg_core.generate.unet import ConditionedUNet
from gendeg_core.types import Degradation
from train.common.errors import UsageError
from train.common.photos import list_photos
from train.common.small_text import caption_tokenizer, small_text_encoder

if TYPE_CHECKING:
    from train.gendeg import GenDegConfig

# Group norm has 32 groups, and the text encoder 12 heads.
WIDTH_MULTIPLE, TEXT_WIDTH_MULTIPLE = 32, 96


PATCH = 4  # pixels of the lossless codec
LINE_BLURS = 6  # of an expert for motion blur; the last is 64 pixels long


@dataclass(frozen=True)
class Components:
    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any  # for sampling
    intensity: IntensityProjection
    sampling: dict[str, Any]  # the pipeline's defaults
    structure: Any = None
    drop_unet: Any = None
    motion_unet: Any = None

    def denoiser(self, expert: str = "") -> Any:
        """The expert for a degradation, or without one the denoiser of all."""
        return getattr(self, EXPERTS[Degradation(expert)]) if expert else self.unet

    def pipeline(self) -> GenDegPipeline:
        parts = (self.vae, self.text_encoder, self.tokenizer, self.unet, self.scheduler, self.intensity)
        pipeline = GenDegPipeline(*parts, self.structure, self.drop_unet, self.motion_unet, **self.sampling)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def small_components(config: GenDegConfig) -> Components:
    """Lossless patch codec, convolutional denoiser, word-level text encoder; or those of `config.base`.

    Experts of `config.base` are kept, and so are its settings and structure module, when only an expert is
    trained: they fit no other denoiser, text encoder or projections than those they were trained with.
    """
    sampling = {
        "guidance_scale": 1.0,
        "image_guidance_scale": 1.0,
        "num_inference_steps": 8,
        "base_size": 256,
        "least_size": 64,
        "match_intensity": True,
    }
    if config.base:
        if not (Path(config.base) / "model_index.json").is_file():
            raise UsageError(
                f"no GenDeg weights in {config.base!r} to start from; give a weights folder as --base"
            )
        stored = GenDegPipeline.from_pretrained(Path(config.base), dtype=torch.float32)
        parts = (stored.vae, stored.text_encoder, stored.tokenizer, stored.unet, stored.scheduler)
        if not config.expert:
            return Components(*parts, stored.intensity, sampling)
        experts = {name: getattr(stored, name) for name in EXPERTS.values()}
        wanted = EXPERTS[Degradation(config.expert)]
        experts[wanted] = experts[wanted] or new_expert(Degradation(config.expert), stored.unet)
        kept = {name: stored.config[name] for name in (*sampling, "detail_size", "detail_strength")}
        return Components(*parts, stored.intensity, kept, stored.structure, **experts)
    tokenizer = caption_tokenizer(training_captions(config))
    intensity = IntensityProjection(text_dim=config.context_width, interpolate=True)
    intensity.smooth_init()
    codec = PatchCodec(PATCH)
    channels = 3 * PATCH**2
    unet: Any = ConditionedUNet(
        in_channels=2 * channels,
        out_channels=channels,
        block_out_channels=config.widths,
        layers_per_block=config.depths,
        cross_attention_dim=config.context_width,
    )
    unet.to(memory_format=torch.channels_last)
    text_encoder = small_text_encoder(tokenizer, config.context_width, layers=2)
    scheduler = FlowMatchEulerDiscreteScheduler()
    return Components(codec, text_encoder, tokenizer, unet, scheduler, intensity, sampling)


def new_expert(degradation: Degradation, unet: Any) -> Any:
    """A copy of the denoiser that also sees a folded layout, at first without heeding it.

    Of motion blur, it may mix blurs along the lines of motion into its answer.
    """
    width = unet.config.out_channels
    blurs = LINE_BLURS if degradation is Degradation.MOTION_BLUR else 0
    expert: Any = ConditionedUNet.from_config(unet.config, in_channels=3 * width, mixed_line_blurs=blurs)
    state = expert.state_dict() | unet.state_dict()
    known = state["conv_in.weight"]
    state["conv_in.weight"] = torch.cat([known, torch.zeros_like(known[:, :width])], 1)
    expert.load_state_dict(state)
    return expert.to(memory_format=torch.channels_last)


def paper_components(config: GenDegConfig) -> Components:
    """Stable Diffusion 1.5 with four more input channels for the clean latent, starting at zero.

    VAE and text encoder are frozen. With `config.base` empty every weight is random and the tokenizer is made
    from the captions: for trying the recipe where Stable Diffusion is not at hand, not for results.
    """
    sizes = reduced_sizes(config.width_divisor)
    with torch.device("cpu"):  # a scheduler reads its tables, so they exist even if the networks are on meta
        scheduler: Any = EulerAncestralDiscreteScheduler(**scheduler_config())
        if config.objective == "flow":
            scheduler = FlowMatchEulerDiscreteScheduler()
    if config.base:
        vae, text_encoder, tokenizer, unet = _stable_diffusion(config.base)
    else:
        vae = AutoencoderKL(**vae_config(sizes))
        text_encoder = CLIPTextModel(CLIPTextConfig(**text_config(sizes)))
        tokenizer = caption_tokenizer(training_captions(config))
        unet = UNet2DConditionModel(**unet_config(sizes))
        with torch.no_grad():
            unet.conv_in.weight[:, 4:] = 0
    vae.requires_grad_(False).eval()
    text_encoder.requires_grad_(False).eval()
    intensity = IntensityProjection(text_dim=sizes.text_width)
    return Components(vae, text_encoder, tokenizer, unet, scheduler, intensity, {"base_size": 512})


def _stable_diffusion(base: str) -> tuple[AutoencoderKL, CLIPTextModel, CLIPTokenizer, UNet2DConditionModel]:
    """VAE, text encoder, tokenizer and widened UNet of a local folder or hub name, in float32."""
    try:
        return (
            AutoencoderKL.from_pretrained(base, subfolder="vae", dtype=torch.float32),
            CLIPTextModel.from_pretrained(base, subfolder="text_encoder", dtype=torch.float32),
            CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"),
            widen_input(UNet2DConditionModel.from_pretrained(base, subfolder="unet", dtype=torch.float32)),
        )
    except OSError as error:
        raise UsageError(
            f"Stable Diffusion 1.5 cannot be read from {base!r}; give its folder with --base, or --base '' "
            f"for random weights ({str(error).splitlines()[0]})"
        ) from error


def reduced_sizes(divisor: int) -> PublishedSizes:
    """The published sizes, every width divided by `divisor` and rounded up to what the layers divide by."""
    full = PublishedSizes()

    def width(published: int, multiple: int) -> int:
        return -(-published // (divisor * multiple)) * multiple

    return PublishedSizes(
        unet_width=width(full.unet_width, WIDTH_MULTIPLE),
        vae_width=width(full.vae_width, WIDTH_MULTIPLE),
        text_width=width(full.text_width, TEXT_WIDTH_MULTIPLE),
    )


def widen_input(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same UNet with eight input channels: the first four as they were, the others with zero weights."""
    wide = UNet2DConditionModel.from_config(unet.config, in_channels=8)  # pyright: ignore[reportArgumentType]
    state = unet.state_dict()
    narrow = state["conv_in.weight"]
    state["conv_in.weight"] = torch.cat([narrow, torch.zeros_like(narrow)], 1)
    wide.load_state_dict(state)  # pyright: ignore[reportAttributeAccessIssue]
    return wide  # pyright: ignore[reportReturnType]


def training_captions(config: GenDegConfig) -> list[str]:
    """Captions of the training photos; none without photos."""
    if config.photos is None:
        return []
    return [record.caption for record in list_photos(config.photos, config.captions)]
