"""The published GenDeg checkpoints as a folder that `GenDegPipeline.from_pretrained` opens.

GenDeg (arXiv 2411.17687) comes as `gendeg.ckpt` (Lightning; raw and EMA UNet, the two projections,
autoencoder and text encoder of Stable Diffusion 1.5) and `nafnet_sd.ckpt` (structure correction).
Sampling uses the EMA weights of the UNet and the raw weights of the projections, as the official scripts do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gendeg_core.checkpoint_files import check_new_folder, read_checkpoint, some, write_new_folder
from gendeg_core.generate import published_keys as keys
from gendeg_core.generate.published_sizes import (
    PUBLISHED,
    RESNETS_PER_LEVEL,
    PublishedSizes,
    paper_unet_config,
    scheduler_config,
    text_config,
    unet_config,
    vae_config,
)

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
    from transformers import CLIPTextModel, CLIPTokenizer

    from gendeg_core.generate.intensity import IntensityProjection
    from gendeg_core.generate.structure import StructureCorrection

__all__ = [
    "PUBLISHED",
    "PublishedComponents",
    "PublishedSizes",
    "convert",
    "load_components",
    "load_structure",
    "load_tokenizer",
    "paper_unet_config",
    "read_checkpoint",
]

TOKENIZER_REPOSITORY = "openai/clip-vit-large-patch14"


@dataclass(frozen=True)
class PublishedComponents:
    """Everything `GenDegPipeline` is made of, but for the tokenizer, which is in no checkpoint."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    scheduler: EulerAncestralDiscreteScheduler
    intensity: IntensityProjection
    structure: StructureCorrection | None


def convert(
    checkpoint: str | Path,
    structure: str | Path | None,
    output: str | Path,
    *,
    tokenizer: str | Path | None = None,
    sizes: PublishedSizes = PUBLISHED,
) -> Path:
    """Write the official checkpoints as a pipeline folder and return that folder.

    Args:
        checkpoint: the official generator, `.ckpt` or `.safetensors`.
        structure: the official structure correction; None leaves that component out.
        output: folder to make; it must not exist, or be empty.
        tokenizer: folder of the CLIP tokenizer; None takes it from the hub or its local cache.

    Raises:
        OSError: a file is missing or cannot be written, `output` is in use, the tokenizer cannot be reached.
        ValueError: a file is no checkpoint, or its keys or shapes are not exactly the published ones.
    """
    from gendeg_core.generate.pipeline import GenDegPipeline

    output = Path(output)
    check_new_folder(output)
    words = load_tokenizer(tokenizer, sizes)
    parts = load_components(checkpoint, structure, sizes=sizes)
    pipeline = GenDegPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=words,
        unet=parts.unet,
        scheduler=parts.scheduler,
        intensity=parts.intensity,
        structure=parts.structure,
    )
    write_new_folder(output, pipeline.save_pretrained)
    return output


def load_components(
    checkpoint: str | Path, structure: str | Path | None, *, sizes: PublishedSizes = PUBLISHED
) -> PublishedComponents:
    """The networks of the official checkpoints, filled strictly; see `convert` for arguments and errors."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    from gendeg_core.generate.intensity import IntensityProjection

    scheduler = EulerAncestralDiscreteScheduler(**scheduler_config())
    with torch.device("meta"):  # no memory and no random start for what is filled in a moment
        unet = UNet2DConditionModel(**unet_config(sizes))
        vae = AutoencoderKL(**vae_config(sizes))
        intensity = IntensityProjection(text_dim=sizes.text_width, tokens=sizes.text_tokens)
    text_encoder = CLIPTextModel(CLIPTextConfig(**text_config(sizes)))

    source = _Source(Path(checkpoint), read_checkpoint(checkpoint))
    raw_key = functools.partial(keys.unet_key, layers=RESNETS_PER_LEVEL)
    source.fill(unet, lambda key: keys.ema_key(raw_key(key)))
    source.require(raw_key(key) for key in unet.state_dict())  # trained, but not what samples
    source.fill(vae, functools.partial(keys.vae_key, levels=len(sizes.vae_levels)))
    source.fill(text_encoder, keys.text_key)
    source.fill(intensity, str)
    source.finish(keys.DROPPED)
    _check_schedule(source, scheduler.alphas_cumprod)
    correction = None if structure is None else load_structure(structure, sizes=sizes)
    return PublishedComponents(
        vae.eval(), text_encoder.eval(), unet.eval(), scheduler, intensity.eval(), correction
    )


def load_structure(path: str | Path, *, sizes: PublishedSizes = PUBLISHED) -> StructureCorrection:
    """The official structure correction checkpoint; see `convert` for errors."""
    from gendeg_core.generate.structure import StructureCorrection

    with torch.device("meta"):
        network = StructureCorrection(
            width=sizes.structure_width,
            encoder_blocks=sizes.structure_encoder,
            middle_blocks=sizes.structure_middle,
            decoder_blocks=sizes.structure_decoder,
        )
    source = _Source(Path(path), read_checkpoint(path))
    source.fill(network, str)
    source.finish(())
    return network.eval()


def load_tokenizer(folder: str | Path | None, sizes: PublishedSizes = PUBLISHED) -> CLIPTokenizer:
    """The CLIP tokenizer in `folder`, or the one of the hub; its vocabulary must fit the text encoder."""
    from transformers import CLIPTokenizer

    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(
            f"tokenizer {folder} is not a folder; give one with vocab.json and merges.txt"
        )
    place = f"the hub ({TOKENIZER_REPOSITORY})" if folder is None else folder
    unreadable = OSError(
        f"the CLIP tokenizer could not be loaded from {place}; pass a tokenizer folder with the "
        f"vocab.json and merges.txt of {TOKENIZER_REPOSITORY} (the checkpoint does not hold them)"
    )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER_REPOSITORY if folder is None else str(folder))
    except OSError as error:
        raise unreadable from error
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):  # transformers goes on without a vocabulary
        raise unreadable
    if len(tokenizer) != sizes.text_vocabulary:
        raise ValueError(
            f"the tokenizer knows {len(tokenizer)} tokens, the text encoder {sizes.text_vocabulary}; "
            f"use the tokenizer of {TOKENIZER_REPOSITORY}"
        )
    tokenizer.model_max_length = sizes.text_tokens
    return tokenizer


@dataclass
class _Source:
    """Tensors of one file, and a ledger of which were used, which were missed and which did not fit."""

    path: Path
    tensors: dict[str, Tensor]
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    def fill(self, model: nn.Module, official: Callable[[str], str]) -> None:
        """Fill every parameter of `model` with the tensor of its official name, where there is one."""
        values = {}
        for key, parameter in model.state_dict().items():
            name = official(key)
            self.require([name])
            tensor = self.tensors.get(name)
            if tensor is None:
                continue
            if tensor.shape == (
                *parameter.shape,
                1,
                1,
            ):  # a 1x1 convolution that diffusers writes as a matrix
                tensor = tensor[..., 0, 0]
            if tensor.shape == parameter.shape:
                values[key] = tensor.float().contiguous()
            else:
                self.misshapen.append(f"{name} is {list(tensor.shape)} instead of {list(parameter.shape)}")
        # What is missing or does not fit is reported by `finish`, for all models of the file at once.
        model.load_state_dict(values, strict=False, assign=True)

    def require(self, names: Iterable[str]) -> None:
        """Note that the file must hold these names."""
        for name in names:
            if name in self.tensors:
                self.used.add(name)
            else:
                self.missing.append(name)

    def finish(self, dropped: Iterable[str]) -> None:
        """Raise ValueError unless all that was needed is there and all else is in `dropped`."""
        unexpected = sorted(self.tensors.keys() - self.used - set(dropped))
        found = [("missing", self.missing), ("unexpected", unexpected), ("of another shape", self.misshapen)]
        problems = [f"{len(names)} {word}: {some(names)}" for word, names in found if names]
        if problems:
            raise ValueError(f"{self.path} is not laid out as published; keys {'; '.join(problems)}")


def _check_schedule(source: _Source, expected: Tensor) -> None:
    stored = source.tensors.get("alphas_cumprod")
    if stored is not None and (
        stored.shape != expected.shape or not torch.allclose(stored, expected, atol=1e-4)
    ):
        raise ValueError(
            f"{source.path} was trained with another noise schedule than the published one; not converted"
        )
