"""The restoration networks by name and size."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin

MODELS = ("nafnet", "promptir", "swin")
SIZES = ("tiny", "embedded", "paper")

_LAST = {"nafnet": "ending", "promptir": "output", "swin": "output"}
_DENOISING = {"encoder_blocks": (2, 2, 4, 8), "middle_blocks": 12, "decoder_blocks": (2, 2, 2, 2)}
_DEBLURRING = {"encoder_blocks": (1, 1, 1, 28), "middle_blocks": 1, "decoder_blocks": (1, 1, 1, 1)} | {
    "train_size": 256  # published with local pooling
}
# One value per prompt and channel: crops of a training lie anywhere in a photo, and so do tiles.
_SMALL_PROMPTS = {
    "prompt_channels": (8, 16, 32),
    "prompt_sizes": (1, 1, 1),
    "unused_layers": False,
    "photo_side": 384,
}

# "tiny" is for tests; "embedded" is what ships: few channels at full resolution, where a CPU spends its time,
# and most blocks deep down; "paper" is the published network. The size of NAFNet that GenDeg trained is not
# published; its structure correction has the layout of SIDD-width64.
CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "nafnet": {
        "tiny": {"width": 8, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}
        | {"photo_side": 384},
        "embedded": {
            "width": 16,
            "encoder_blocks": (1, 1, 1, 2),
            "middle_blocks": 2,
            "decoder_blocks": (1, 1, 1, 1),
            "photo_side": 384,
        },
        "paper": {"width": 64, "train_size": 256, **_DENOISING},
        "SIDD-width32": {"width": 32, **_DENOISING},
        "SIDD-width64": {"width": 64, **_DENOISING},
        "GoPro-width32": {"width": 32, **_DEBLURRING},
        "GoPro-width64": {"width": 64, **_DEBLURRING},
        "REDS-width64": {"width": 64, **_DEBLURRING},
    },
    "promptir": {
        "tiny": {"width": 4, "blocks": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "refinement_blocks": 0}
        | _SMALL_PROMPTS,
        "embedded": {"width": 8, "blocks": (1, 1, 2, 8), "refinement_blocks": 0} | _SMALL_PROMPTS,
        "paper": {},
    },
    "swin": {
        "tiny": {
            "variant": "swin_tiny_patch4_window7_224",
            "options": {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 4},
            "decoder_channels": (16, 16, 8, 8, 8),
            "residual": True,
            "negative_slope": 0.1,
            "embed_norm": False,
            "refinement_channels": 8,
            "refinement_blocks": 1,
        },
        "embedded": {
            "variant": "swin_tiny_patch4_window7_224",
            "options": {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "window_size": 8},
            "decoder_channels": (128, 64, 48, 32, 16),
            "residual": True,
            "negative_slope": 0.1,
            "embed_norm": False,
            "refinement_channels": 32,
        },
        "paper": {},
    },
}


def build(model: str, size: str = "paper") -> ModelMixin:
    """A new network with random weights; a small one returns its input until it is trained.

    Args:
        model: "nafnet", "promptir" or "swin".
        size: "tiny", "embedded" or "paper"; for NAFNet also a published name such as "GoPro-width32".

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    known = CONFIGS[_known("network", model, CONFIGS)]
    net = build_from(model, known[_known(f"size of {model}", size, known)])
    if size in ("tiny", "embedded"):
        # A short training should not spend its first steps on unlearning random corrections.
        for parameter in net.get_submodule(_LAST[model]).parameters():
            torch.nn.init.zeros_(parameter)
    return net


def build_from(model: str, config: dict[str, Any]) -> ModelMixin:
    """A new network with random weights by the arguments of its class."""
    return network_class(model)(**config)


def network_class(model: str) -> Any:
    """The class of a network; timm is imported for Swin only."""
    if model == "nafnet":
        from gendeg_core.restore.nafnet import NAFNet

        return NAFNet
    if model == "promptir":
        from gendeg_core.restore.promptir import PromptIR

        return PromptIR
    from gendeg_core.restore.swin import SwinRestorer

    return SwinRestorer


def _known(what: str, name: str, names: dict[str, Any]) -> str:
    if name not in names:
        raise ValueError(f"unknown {what} {name!r}; choose one of {', '.join(names)}")
    return name
