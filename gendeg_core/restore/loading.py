"""Opening restorers: the shipped weights by name, a folder, or a checkpoint file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gendeg_core.device import pick_device
from gendeg_core.paths import WEIGHTS
from gendeg_core.restore.local_pooling import local_inference
from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.restore.photo_pooling import PhotoPooling
from gendeg_core.restore.promptir import PromptIR
from gendeg_core.restore.published import load_published, read_state, recognise
from gendeg_core.restore.zoo import MODELS, network_class
from gendeg_core.weights import folder_identity

TRAININGS = ("existing", "gends")  # what the shipped weights were trained on; "gends" saw both
ANY = "any"  # asks for whatever network a file or a folder holds
LABEL, CONFIG, TENSORS = "label.json", "config.json", "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Label:
    """What a person should know of some weights before trusting them.

    Args:
        model: "nafnet", "promptir" or "swin".
        training: "existing" or "gends".
        parameters: how many numbers were learned.
        steps, samples: updates, and training crops seen.
        data: what it was trained on.
        weak: where it is weak, in one sentence.
    """

    model: str
    training: str
    parameters: int
    steps: int
    samples: int
    data: str
    weak: str


@dataclass(frozen=True, eq=False)
class Restorer:
    """A network ready to restore.

    Args:
        net: in eval mode, float32 unless asked otherwise: (B, 3, H, W) in [0, 1] to the same at any size,
            not clamped.
        model: which network.
        weights: name and digest of the weights.
        label: what is known of them; None for weights that do not come with a label.
    """

    net: nn.Module
    model: str
    weights: str
    label: Label | None = None


def shipped_folder(model: str, training: str) -> Path:
    """Where the weights of `model` with this training are kept, whether they are there or not."""
    return WEIGHTS / f"{model}_{training}"


def available() -> list[Label]:
    """Labels of the shipped weights that are there, network by network."""
    folders = [shipped_folder(model, training) for model in MODELS for training in TRAININGS]
    return [read_label(folder) for folder in folders if (folder / LABEL).is_file()]


def read_label(folder: Path) -> Label:
    """The label of a folder of weights.

    Raises:
        OSError: there is none, or it is damaged.
    """
    try:
        return Label(**json.loads((folder / LABEL).read_text()))
    except (ValueError, TypeError) as error:
        raise OSError(f"{folder / LABEL} is damaged ({error}); restore the file") from error


def write_label(folder: Path, label: Label) -> None:
    """Store `label` beside the weights it describes."""
    (folder / LABEL).write_text(json.dumps(label.__dict__, indent=1) + "\n")


def load_restorer(
    model: str,
    weights: str | Path = "existing",
    device: torch.device | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Restorer:
    """Open a restorer.

    Args:
        model: "nafnet", "promptir" or "swin"; "any" for whatever a path holds.
        weights: "existing" or "gends" for what ships; else a folder written by training or by `convert`, or
            a checkpoint file: published NAFNet or PromptIR, any other restorer that spandrel can open.
        device: where to run; None chooses.
        dtype: float16 or bfloat16 halve the memory, and on a GPU the time; a CPU is faster in float32.

    Raises:
        OSError: the weights are missing or cannot be read.
        ValueError: unknown name, or the path holds another network than asked for.
    """
    if model not in (*MODELS, ANY):
        raise ValueError(f"unknown network {model!r}; choose one of {', '.join(MODELS)}, {ANY}")
    if str(weights) in TRAININGS:
        restorer = _open_shipped(model, str(weights))
    elif Path(weights).is_dir():
        restorer = _open_folder(Path(weights))
    elif Path(weights).is_file():
        restorer = _open_file(Path(weights))
    else:
        raise OSError(f"no weights {weights}; give {', '.join(TRAININGS)}, a folder or a checkpoint file")
    if model not in (restorer.model, ANY):
        raise ValueError(
            f"{weights} holds {restorer.model}, not {model}; choose {restorer.model} or {ANY} as the network"
        )
    return Restorer(
        ready(restorer.net, device or pick_device(), dtype), restorer.model, restorer.weights, restorer.label
    )


def _open_shipped(model: str, training: str) -> Restorer:
    if model == ANY:
        raise ValueError(f"{training!r} weights are shipped per network; choose one of {', '.join(MODELS)}")
    folder = shipped_folder(model, training)
    if not (folder / TENSORS).is_file():
        there = ", ".join(f"{label.model} {label.training}" for label in available()) or "none"
        raise OSError(
            f"no {training!r} weights of {model} are shipped (there are: {there}); train them with "
            "python -m train.restore, or give a path"
        )
    return _open_folder(folder)


def _open_folder(folder: Path) -> Restorer:
    """A folder as `save_pretrained` writes it."""
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise OSError(f"no restoration weights in {folder}: {name} is missing; give a converted folder")
    try:
        stored = json.loads((folder / CONFIG).read_text()).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise OSError(f"{folder / CONFIG} is damaged ({error}); restore the file") from error
    classes = {network_class(model).__name__: model for model in MODELS}
    if stored not in classes:
        raise ValueError(f"{folder} holds {stored}, which is no restorer; known are {', '.join(classes)}")
    model = classes[stored]
    label = read_label(folder) if (folder / LABEL).is_file() else None
    return Restorer(_read_folder(network_class(model), folder), model, folder_identity(folder), label)


def _read_folder(kind: Any, folder: Path) -> nn.Module:
    try:
        net, report = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            low_cpu_mem_usage=False,  # else timm's buffers, which no file holds, stay empty
            output_loading_info=True,
        )
    except Exception as error:  # whatever diffusers, safetensors or json raise, the folder is what is wrong
        raise OSError(f"the weights in {folder} cannot be read: {error}") from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    if wrong:
        raise OSError(f"the weights in {folder} do not fit their {CONFIG}: {wrong[0]}; restore the files")
    return net


def _open_file(path: Path) -> Restorer:
    state = read_state(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    model = recognise(state)
    if model is not None:
        return Restorer(load_published(model, state, path), model, f"{path.stem}@{digest}")
    from gendeg_core.restore.foreign import load_foreign

    net, architecture = load_foreign(state, path)
    return Restorer(net, architecture, f"{path.stem}@{digest}")


def ready(net: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """For inference: no gradients, the memory format that convolutions like, the pooling that helps."""
    net = net.eval().requires_grad_(requires_grad=False)
    nn.Module.to(net, device=device, dtype=dtype)  # that of diffusers warns of every change of type
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    if isinstance(net, (NAFNet, PromptIR)) and net.config["photo_side"]:
        return PhotoPooling(net, net.config["photo_side"])
    if isinstance(net, NAFNet) and net.config["train_size"]:
        side = net.config["train_size"]
        return local_inference(net, (side, side))
    return net
