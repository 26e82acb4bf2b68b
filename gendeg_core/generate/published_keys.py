"""The names of the published GenDeg checkpoint: which official tensor fills which parameter of ours.

The official files use the layout of latent diffusion (one numbered list of blocks down, one in the middle,
one up); diffusers groups the same layers by level. Each function here answers one question:
what is the parameter `key` of the diffusers or transformers model called in the official file?
"""

from __future__ import annotations

import re
from collections.abc import Callable

UNET = "model.diffusion_model."
EMA = "model_ema."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
# Not parameters: the noise schedule (rebuilt by the scheduler), counters, and a fixed list of positions.
SCHEDULE = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
DROPPED = frozenset({*SCHEDULE, EMA + "decay", EMA + "num_updates", TEXT + "embeddings.position_ids"})

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_key(key: str, *, layers: int = 2) -> str:
    """Official name of a parameter of `UNet2DConditionModel` with `layers` resnets per level."""
    if match := re.fullmatch(r"(down|mid|up)_block(?:s\.(\d+))?\.(\w+)\.(\d+)\.(.+)", key):
        part, level, kind, number, rest = match.groups()
        if kind == "resnets":
            rest = _replace_start(rest, _RESNET)
        return UNET + _UNET_PARTS[part](int(level or 0), kind, int(number), rest, layers)
    return UNET + _replace_start(key, _UNET_ENDS)


def ema_key(raw_key: str) -> str:
    """Name of the moving average of a raw UNet weight: the module's name with all dots removed."""
    return EMA + raw_key.removeprefix("model.").replace(".", "")


def vae_key(key: str, *, levels: int) -> str:
    """Official name of a parameter of `AutoencoderKL`; the decoder counts its `levels` backwards."""

    def level(match: re.Match[str]) -> str:
        way, number = match[1], int(match[2])
        return f".{way}.{number if way == 'down' else levels - 1 - number}"

    key = re.sub(r"\.(down|up)_blocks\.(\d+)", level, key)
    key = re.sub(r"(?<!mid_block)\.resnets\.(\d+)", r".block.\1", key)
    key = re.sub(r"mid_block\.resnets\.(\d+)", lambda match: f"mid.block_{int(match[1]) + 1}", key)
    if match := re.fullmatch(r"(.+)\.mid_block\.attentions\.0\.(.+)", key):
        key = f"{match[1]}.mid.attn_1.{_replace_start(match[2], _VAE_ATTENTION)}"
    key = re.sub(r"\.(down|up)samplers\.0\.", r".\1sample.", key)
    return VAE + key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def text_key(key: str) -> str:
    """Official name of a parameter of `CLIPTextModel`, with or without the prefix older transformers use."""
    return TEXT + key.removeprefix("text_model.")


def _down(level: int, kind: str, number: int, rest: str, layers: int) -> str:
    block = level * (layers + 1) + 1 + number  # block 0 is the first convolution
    if kind == "downsamplers":
        return f"input_blocks.{block + layers}.0.{rest.replace('conv', 'op')}"
    return f"input_blocks.{block}.{int(kind == 'attentions')}.{rest}"


def _middle(level: int, kind: str, number: int, rest: str, layers: int) -> str:
    del level, layers
    return f"middle_block.{1 if kind == 'attentions' else 2 * number}.{rest}"


def _up(level: int, kind: str, number: int, rest: str, layers: int) -> str:
    block = level * (layers + 1) + number
    if kind == "upsamplers":
        # The upsampler follows the last resnet of its level, and its attention: the lowest level has none.
        return f"output_blocks.{block + layers}.{1 if level == 0 else 2}.{rest}"
    return f"output_blocks.{block}.{int(kind == 'attentions')}.{rest}"


_UNET_PARTS: dict[str, Callable[[int, str, int, str, int], str]] = {"down": _down, "mid": _middle, "up": _up}


def _replace_start(key: str, names: dict[str, str]) -> str:
    for ours, official in names.items():
        if key.startswith(ours + "."):
            return official + key.removeprefix(ours)
    return key
