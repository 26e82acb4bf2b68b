"""The published checkpoints: daclip_ViT-B-32.pt, daclip_ViT-B-32_mix.pt and wild-daclip_ViT-L-14.pt.

They are training files of open_clip: a dictionary with `state_dict`, whose keys may begin with `module.`.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendeg_core.embed.daclip import DaCLIP
from gendeg_core.embed.models import build, model_config

NAMES = ("daclip_ViT-B-32", "daclip_ViT-L-14")
TOWER, AGAIN = "clip.visual.", "visual."  # one module under two names


def load_published(path: Path) -> tuple[DaCLIP, dict[str, Any]]:
    """The model in a published checkpoint, and its sizes.

    Only tensors are read: a file that holds other objects is refused, never run.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a checkpoint; the message says what is wrong with it.
    """
    state = read_state(path)
    config = config_of(state, path)
    with torch.device("meta"):  # no time lost on random weights
        model = build(config)
    load_strictly(model, single_tower(state, path), path)
    model.clip.attn_mask = causal_mask(config["text_cfg"]["context_length"])  # the one thing not stored
    return model.eval(), config


def read_state(path: Path) -> dict[str, Tensor]:
    """Weights by their key, without `module.`."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is no checkpoint of tensors ({reason}); download it again") from error
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state_dict of tensors; give a published DA-CLIP checkpoint")
    return {key.removeprefix("module."): value for key, value in state.items()}


def config_of(state: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Sizes of the published model that `state` belongs to, told by the width of its image tower."""
    stem = state.get(f"{TOWER}class_embedding")
    for name in NAMES:
        config = model_config(name)
        if stem is not None and len(stem) == config["vision_cfg"]["width"]:
            return config
    raise ValueError(f"{path} holds no DA-CLIP of a published size ({', '.join(NAMES)}); give another file")


def load_strictly(model: DaCLIP, state: dict[str, Tensor], path: Path) -> None:
    """Put `state` in place of the weights of `model`, in float32, if every key and shape fits."""
    expected = model.state_dict()
    missing, foreign = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = sorted(key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape)
    for what, keys in (("lacks", missing), ("has the unknown", foreign), ("has the wrong shape of", wrong)):
        if keys:
            raise ValueError(
                f"{path} {what} {len(keys)} weights, such as {keys[0]}; give a DA-CLIP checkpoint"
            )
    model.load_state_dict({key: value.float() for key, value in state.items()}, strict=True, assign=True)


def published_state(model: DaCLIP) -> dict[str, Tensor]:
    """The weights of `model` under the published keys: the image tower is there twice."""
    state = model.state_dict()
    tower = {key: value for key, value in state.items() if key.startswith(TOWER)}
    return {**state, **{AGAIN + key.removeprefix(TOWER): value for key, value in tower.items()}}


def single_tower(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Published weights with the image tower once.

    Raises:
        ValueError: its two copies are not equal.
    """
    copies = {key.removeprefix(AGAIN): value for key, value in state.items() if key.startswith(AGAIN)}
    towers = {key.removeprefix(TOWER): value for key, value in state.items() if key.startswith(TOWER)}
    for key in sorted(copies.keys() | towers.keys()):
        if key not in copies or key not in towers or not torch.equal(copies[key], towers[key]):
            raise ValueError(f"{path} has two versions of the image tower ({key}); it is damaged")
    return {key: value for key, value in state.items() if not key.startswith(AGAIN)}


def causal_mask(length: int) -> Tensor:
    """What a text tower adds to its attention: -inf for every later token."""
    return torch.full((length, length), float("-inf")).triu(1)
