"""Checkpoint files of restoration networks: which network they hold, of what size, loaded key by key.

NAFNet's `.pth` files wrap the weights as `params`, PromptIR's Lightning file prefixes every key with `net.`.
Widths and depths are read off the shapes, so files of any size of the two networks open.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from gendeg_core.checkpoint_files import check_new_folder, read_checkpoint, some, write_new_folder
from gendeg_core.restore.zoo import build_from

ENTRIES = ("params_ema", "params", "state_dict")  # names under which files keep their weights
PREFIXES = ("module.", "net.")
CROP = 256  # that the published deblurring networks were trained on
_MARKS = {"nafnet": "middle_blks.0.beta", "promptir": "prompt1.prompt_param"}


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file, without the prefixes that trainers add.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, or holds Python objects, which are never run.
    """
    state = read_checkpoint(path, ENTRIES)
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """Which of our networks these weights belong to; None for any other."""
    return next((model for model, mark in _MARKS.items() if mark in state), None)


def load_published(model: str, state: Mapping[str, Tensor], path: str | Path) -> ModelMixin:
    """The network with these weights in float32, every key used and none missing.

    Args:
        model: what `recognise` said.
        state: what `read_state` gave.
        path: the file, for messages.

    Raises:
        ValueError: keys or shapes are not those of the network.
    """
    try:
        config = _CONFIGS[model](state)
    except KeyError as error:
        raise ValueError(f"{path} is not laid out as {model}; key {error} is missing") from error
    with torch.device("meta"):  # no memory and no random start for what is filled in a moment
        net = build_from(model, config)
    expected = net.state_dict()
    found = [
        ("missing", sorted(expected.keys() - state.keys())),
        ("unexpected", sorted(state.keys() - expected.keys())),
        ("of another shape", [k for k in expected if k in state and expected[k].shape != state[k].shape]),
    ]
    problems = [f"{len(names)} {word}: {some(names)}" for word, names in found if names]
    if problems:
        raise ValueError(f"{path} is not laid out as {model}; keys {'; '.join(problems)}")
    net.load_state_dict({key: state[key].float() for key in expected}, assign=True)
    return net.eval()


def convert(path: str | Path, output: str | Path) -> Path:
    """Write a published NAFNet or PromptIR checkpoint as a folder that `load_restorer` opens; returns it.

    Raises:
        OSError: the file is missing or cannot be read, `output` is in use.
        ValueError: the file holds no such network.
    """
    output = Path(output)
    check_new_folder(output)
    state = read_state(path)
    model = recognise(state)
    if model is None:
        raise ValueError(f"{path} holds neither NAFNet nor PromptIR; give one of their published files")
    net = load_published(model, state, path)
    write_new_folder(output, net.save_pretrained)
    return output


def nafnet_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `NAFNet` that give these keys and shapes."""
    width, channels = state["intro.weight"].shape[:2]
    if channels != 3:
        raise ValueError(
            f"this NAFNet takes {channels} channels instead of 3: it corrects structure and is no restorer; "
            "convert it together with its generator"
        )
    levels = _count(state, "encoders.")
    config = {
        "width": width,
        "encoder_blocks": tuple(_count(state, f"encoders.{level}.") for level in range(levels)),
        "middle_blocks": _count(state, "middle_blks."),
        "decoder_blocks": tuple(_count(state, f"decoders.{level}.") for level in range(levels)),
    }
    # The GoPro and REDS files are published with local pooling, those of SIDD (denoising) without.
    deblurring = (config["encoder_blocks"], config["middle_blocks"]) == ((1, 1, 1, 28), 1)
    return config | {"train_size": CROP if deblurring else 0}


def promptir_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `PromptIR` that give these keys and shapes."""
    stages = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    prompts = [state[f"prompt{level}.prompt_param"].shape for level in (1, 2, 3)]
    return {
        "width": state["patch_embed.proj.weight"].shape[0],
        "blocks": tuple(_count(state, f"{name}.") for name in stages),
        "refinement_blocks": _count(state, "refinement."),
        "heads": tuple(state[f"{name}.0.attn.temperature"].shape[0] for name in stages),
        "prompt_channels": tuple(shape[2] for shape in prompts),
        "prompt_sizes": tuple(shape[3] for shape in prompts),
        "unused_layers": "chnl_reduce1.weight" in state,
    }


_CONFIGS = {"nafnet": nafnet_config, "promptir": promptir_config}


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered modules follow `prefix`."""
    numbers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    return len([number for number in numbers if number.isdecimal()])
