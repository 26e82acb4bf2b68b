"""Small random pipelines, made in a second: one of the shipped kind, one of Stable Diffusion's."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)

from gendeg_core.generate.codec import PatchCodec
from gendeg_core.generate.intensity import IntensityProjection
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.generate.published_sizes import scheduler_config
from gendeg_core.generate.structure import StructureCorrection
from gendeg_core.generate.unet import ConditionedUNet
from train.common.small_text import caption_tokenizer, small_text_encoder

WIDTH = 32


def stir(module: torch.nn.Module, scale: float) -> None:
    """Random values where training starts at zero, so that every input has an influence."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape))


def shipped_kind(**options) -> GenDegPipeline:
    torch.manual_seed(0)
    tokenizer = caption_tokenizer(["a red house by the lake", "a red car by the house"])
    unet = ConditionedUNet(
        block_out_channels=(16, 24), layers_per_block=(1, 1), cross_attention_dim=WIDTH, condition_dim=32
    )
    stir(unet, 0.05)
    intensity = IntensityProjection(text_dim=WIDTH, interpolate=True)
    intensity.smooth_init()
    defaults = {
        "guidance_scale": 1.0,
        "image_guidance_scale": 1.0,
        "num_inference_steps": 3,
        "base_size": 48,
        "least_size": 32,
    }
    return _quiet(
        GenDegPipeline(
            PatchCodec(),
            small_text_encoder(tokenizer, WIDTH, 1),
            tokenizer,
            unet,
            FlowMatchEulerDiscreteScheduler(),
            intensity,
            **(defaults | options),
        )
    )


def stable_diffusion_kind(*, structure: bool = False, **options) -> GenDegPipeline:
    torch.manual_seed(0)
    tokenizer = caption_tokenizer(["a red house by the lake", "a red car by the house"])
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=4,
        layers_per_block=1,
    )
    unet = UNet2DConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    module = StructureCorrection(width=4, encoder_blocks=[1], middle_blocks=1, decoder_blocks=[1])
    stir(module, 0.1)
    defaults = {"num_inference_steps": 3, "base_size": 48, "least_size": 32}
    return _quiet(
        GenDegPipeline(
            vae,
            small_text_encoder(tokenizer, WIDTH, 1),
            tokenizer,
            unet,
            EulerAncestralDiscreteScheduler(**scheduler_config()),
            IntensityProjection(text_dim=WIDTH),
            module if structure else None,
            **(defaults | options),
        )
    )


def _quiet(pipeline: GenDegPipeline) -> GenDegPipeline:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
