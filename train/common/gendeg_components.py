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
from gendeg_core.generate.intensity import IntensityProjection
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.generate.published_sizes import paper_unet_config, scheduler_config, text_config, vae_config
from gendeg_core.generate.unet import ConditionedUNet
from train.common.photos import list_photos
from train.common.small_text import caption_tokenizer, small_text_encoder

if TYPE_CHECKING:
    from train.gendeg import GenDegConfig


@dataclass(frozen=True)
class Components:
    vae: Any
    text_encoder: Any
    tokenizer: Any
    unet: Any
    scheduler: Any
    intensity: IntensityProjection
    sampling: dict[str, Any]  # the pipeline's defaults

    def pipeline(self, *, objective: str) -> GenDegPipeline:
        scheduler = self.scheduler
        if objective == "epsilon":
            scheduler = EulerAncestralDiscreteScheduler(**scheduler_config())
        parts = (self.vae, self.text_encoder, self.tokenizer, self.unet, scheduler, self.intensity)
        pipeline = GenDegPipeline(*parts, **self.sampling)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def small_components(config: GenDegConfig) -> Components:
    """Lossless patch codec, convolutional denoiser, word-level text encoder; or those of `config.base`."""
    sampling = {
        "guidance_scale": 1.0,
        "image_guidance_scale": 1.0,
        "num_inference_steps": 8,
        "base_size": 256,
        "least_size": 64,
        "match_intensity": True,
    }
    if config.base:
        stored = GenDegPipeline.from_pretrained(Path(config.base), torch_dtype=torch.float32)
        return Components(
            stored.vae, stored.text_encoder, stored.tokenizer, stored.unet, stored.scheduler,
            stored.intensity, sampling,
        )  # fmt: skip
    captions = [r.caption for r in list_photos(config.photos, config.captions)] if config.photos else []
    tokenizer = caption_tokenizer(captions)
    intensity = IntensityProjection(text_dim=config.context_width, interpolate=True)
    intensity.smooth_init()
    codec = PatchCodec()
    unet = ConditionedUNet(
        in_channels=2 * codec.config.latent_channels,
        out_channels=codec.config.latent_channels,
        block_out_channels=config.widths,
        layers_per_block=config.depths,
        cross_attention_dim=config.context_width,
    ).to(memory_format=torch.channels_last)
    text_encoder = small_text_encoder(tokenizer, config.context_width, layers=2)
    scheduler = FlowMatchEulerDiscreteScheduler()
    return Components(codec, text_encoder, tokenizer, unet, scheduler, intensity, sampling)


def paper_components(config: GenDegConfig) -> Components:
    """Stable Diffusion 1.5 with four more input channels for the clean latent, starting at zero.

    With `config.base` empty every weight is random and the tokenizer is made from the captions: for trying
    the recipe where Stable Diffusion is not at hand, not for results.
    """
    sampling: dict[str, Any] = {"base_size": 512}
    intensity = IntensityProjection()
    scheduler = EulerAncestralDiscreteScheduler(**scheduler_config())
    if config.base:
        vae = AutoencoderKL.from_pretrained(config.base, subfolder="vae")
        text_encoder = CLIPTextModel.from_pretrained(config.base, subfolder="text_encoder")
        tokenizer = CLIPTokenizer.from_pretrained(config.base, subfolder="tokenizer")
        unet = widen_input(UNet2DConditionModel.from_pretrained(config.base, subfolder="unet"))
    else:
        vae = AutoencoderKL(**vae_config())
        text_encoder = CLIPTextModel(CLIPTextConfig(**text_config()))
        photos = list_photos(config.photos, config.captions) if config.photos else []
        tokenizer = caption_tokenizer([record.caption for record in photos])
        unet = UNet2DConditionModel(**paper_unet_config())
    vae.requires_grad_(False)
    return Components(vae, text_encoder, tokenizer, unet, scheduler, intensity, sampling)


def widen_input(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same UNet with eight input channels: the first four as they were, the last four with zero weights."""
    wide = UNet2DConditionModel.from_config(unet.config, in_channels=8)  # pyright: ignore[reportArgumentType]
    state = unet.state_dict()
    narrow = state["conv_in.weight"]
    state["conv_in.weight"] = torch.cat([narrow, torch.zeros_like(narrow)], 1)
    wide.load_state_dict(state)  # pyright: ignore[reportAttributeAccessIssue]
    return wide  # pyright: ignore[reportReturnType]
