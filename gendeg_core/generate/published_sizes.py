"""Widths, depths and settings of the published GenDeg networks (arXiv 2411.17687, official configuration)."""

from __future__ import annotations

from dataclasses import dataclass

RESNETS_PER_LEVEL = 2


@dataclass(frozen=True)
class PublishedSizes:
    """Widths and depths of the official networks; others only for small test checkpoints of the same layout.

    Args:
        sample_size: side of the latents the model samples by default; 64 is 512 pixels.
    """

    unet_width: int = 320
    unet_levels: tuple[int, ...] = (1, 2, 4, 4)  # times the width
    unet_heads: int = 8
    sample_size: int = 64
    vae_width: int = 128
    vae_levels: tuple[int, ...] = (1, 2, 4, 4)
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    text_tokens: int = 77
    text_vocabulary: int = 49408
    structure_width: int = 64
    structure_encoder: tuple[int, ...] = (2, 2, 4, 8)
    structure_middle: int = 12
    structure_decoder: tuple[int, ...] = (2, 2, 2, 2)


PUBLISHED = PublishedSizes()


def unet_config(sizes: PublishedSizes = PUBLISHED) -> dict:
    """Arguments of diffusers' `UNet2DConditionModel`: attention at every level but the lowest."""
    levels = len(sizes.unet_levels)
    return {
        "sample_size": sizes.sample_size,
        "in_channels": 8,  # noisy latent, then clean latent
        "out_channels": 4,
        "block_out_channels": tuple(sizes.unet_width * factor for factor in sizes.unet_levels),
        "down_block_types": ("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        "layers_per_block": RESNETS_PER_LEVEL,
        "cross_attention_dim": sizes.text_width,
        "attention_head_dim": sizes.unet_heads,  # despite its name, diffusers reads the number of heads here
    }


def paper_unet_config() -> dict:
    """Arguments of `UNet2DConditionModel` for the published GenDeg UNet (859.5 M parameters)."""
    return unet_config(PUBLISHED)


def vae_config(sizes: PublishedSizes = PUBLISHED) -> dict:
    """Arguments of diffusers' `AutoencoderKL`."""
    levels = len(sizes.vae_levels)
    return {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": tuple(sizes.vae_width * factor for factor in sizes.vae_levels),
        "layers_per_block": 2,
        "latent_channels": 4,
        "sample_size": 512,
        "scaling_factor": 0.18215,  # of the noisy latent only; the clean latent goes in unscaled
    }


def text_config(sizes: PublishedSizes = PUBLISHED) -> dict:
    """Arguments of transformers' `CLIPTextConfig`: the text half of CLIP ViT-L/14."""
    return {
        "vocab_size": sizes.text_vocabulary,
        "hidden_size": sizes.text_width,
        "intermediate_size": 4 * sizes.text_width,
        "num_hidden_layers": sizes.text_layers,
        "num_attention_heads": sizes.text_heads,
        "max_position_embeddings": sizes.text_tokens,
        "hidden_act": "quick_gelu",
        "projection_dim": sizes.text_width,
        "bos_token_id": sizes.text_vocabulary - 2,
        "eos_token_id": sizes.text_vocabulary - 1,
    }


def scheduler_config() -> dict:
    """Arguments of the official sampler, 1000 training steps with the schedule of Stable Diffusion."""
    return {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "linspace",
    }
