"""A DA-CLIP that costs nothing: random weights, 32 pixels."""

from __future__ import annotations

from pathlib import Path

import torch

from gendeg_core.embed.loading import EmbedderConfig, Preprocessing, save_embedder
from gendeg_core.embed.models import build, model_config


def tiny_weights(folder: Path, seed: int = 0) -> Path:
    """`folder`, with the weights of a random model whose controls are not zero."""
    torch.manual_seed(seed)
    model = build(model_config("gendeg_tiny"))
    for layer in model.visual_control.transformer.zero_modules:
        torch.nn.init.normal_(layer.weight, std=0.2)
    config = EmbedderConfig(model_config("gendeg_tiny"), Preprocessing(size=32))
    save_embedder(model, config, folder)
    return folder
