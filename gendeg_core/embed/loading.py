"""Load DA-CLIP, from a folder of ours or a published checkpoint, and embed images with it.

A folder holds `config.json` (sizes, preprocessing, words), `model.safetensors` and `record.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gendeg_core.device import pick_device
from gendeg_core.embed.daclip import DaCLIP
from gendeg_core.embed.models import build, build_tokenizer
from gendeg_core.embed.published import load_published, load_strictly
from gendeg_core.paths import WEIGHTS
from gendeg_core.types import Degradation
from gendeg_core.weights import folder_identity

SHIPPED = WEIGHTS / "daclip"
CONFIG, MODEL = "config.json", "model.safetensors"
BATCH = 32  # images in the network at once
SHARPNESS = 100.0  # factor of the cosines before the softmax, as published

# The bare words that the published model was trained with.
WORDS = {
    Degradation.HAZE: "hazy",
    Degradation.RAIN: "rainy",
    Degradation.SNOW: "snowy",
    Degradation.MOTION_BLUR: "motion-blurry",
    Degradation.LOW_LIGHT: "low-light",
    Degradation.RAINDROP: "raindrop",
}


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input; the defaults are the published ones.

    Rounded to 8 bits, the shorter side resized (bicubic, with antialiasing) to `size`, the middle square cut
    out, normalised. What lies outside the middle square is not seen.
    """

    size: int = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) in [0, 1] to (3, size, size)."""
        import numpy as np
        from PIL import Image
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import center_crop, resize

        # through Pillow, whose bicubic filter and rounding the published code uses
        pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        photo: Any = Image.fromarray(pixels)  # torchvision declares tensors alone
        shorter = resize(photo, [self.size], InterpolationMode.BICUBIC)
        square = np.array(center_crop(shorter, [self.size, self.size]))
        return self.normalise(torch.from_numpy(square).permute(2, 0, 1).float() / 255)

    def normalise(self, images: Tensor) -> Tensor:
        """(..., 3, S, S) in [0, 1] to the network's range."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std


@dataclass(frozen=True)
class EmbedderConfig:
    """What `config.json` holds: sizes as open_clip writes them, preprocessing, a word per degradation."""

    clip: dict[str, Any]
    preprocessing: Preprocessing = Preprocessing()
    words: Mapping[str, str] = field(default_factory=lambda: {str(d): word for d, word in WORDS.items()})

    @classmethod
    def read(cls, path: Path) -> EmbedderConfig:
        stored = json.loads(path.read_text(encoding="utf-8"))
        how = stored["preprocessing"]
        preprocessing = Preprocessing(int(how["size"]), tuple(how["mean"]), tuple(how["std"]))
        return cls(stored["clip"], preprocessing, stored["words"])


class Embedder:
    """A DA-CLIP in use: images to embeddings, degradation embeddings to degradations.

    Args:
        model: the network, in evaluation.
        config: sizes, preprocessing and words.
        weights: identity of the weights.
    """

    def __init__(self, model: DaCLIP, config: EmbedderConfig, weights: str, device: torch.device) -> None:
        self.model, self.config, self.weights = model.eval().to(device), config, weights
        self.device = device
        self.degradations = [Degradation.parse(name) for name in config.words]
        self.words = self.embed_texts(list(config.words.values()))

    @property
    def dimensions(self) -> int:
        """D, the length of an embedding."""
        return int(self.config.clip["embed_dim"])

    @torch.no_grad()
    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Content and degradation embeddings, (B, D) float32 on the CPU, of (B, 3, H, W) in [0, 1].

        They are not normalised: restoration uses them as they are, maps compare their directions.
        """
        content, degradation = [], []
        for first in range(0, len(images), BATCH):
            part = images[first : first + BATCH]
            prepared = torch.stack([self.config.preprocessing(image) for image in part])
            c, d = self.model.encode_image(prepared.to(self.device))
            assert d is not None
            content.append(c.float().cpu())
            degradation.append(d.float().cpu())
        if not content:
            return torch.empty(0, self.dimensions), torch.empty(0, self.dimensions)
        return torch.cat(content), torch.cat(degradation)

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Tensor:
        """(B, D) float32 on the CPU, of length 1."""
        tokens = build_tokenizer(self.config.clip)(texts)
        return F.normalize(self.model.encode_text(tokens.to(self.device)).float(), dim=-1).cpu()

    def scores(self, degradation: Tensor) -> Tensor:
        """Probability (B, K) of each of `degradations`, by the words' cosine with (B, D) embeddings."""
        cosines = F.normalize(degradation.float().cpu(), dim=-1) @ self.words.T
        return (SHARPNESS * cosines).softmax(-1)

    def classify(self, degradation: Tensor) -> tuple[list[Degradation], Tensor]:
        """The most likely degradation for each of (B, D) embeddings, and its probability (B,)."""
        best = self.scores(degradation).max(-1)
        return [self.degradations[int(k)] for k in best.indices], best.values


def load_embedder(weights: str | Path | None = None, device: torch.device | str | None = None) -> Embedder:
    """The embedder with these weights.

    Args:
        weights: folder with `config.json` and `model.safetensors`, or a published checkpoint; None for the
            weights that come with the project.
        device: where it runs; None for the best there is.

    Raises:
        OSError: nothing is there, or files of the folder are missing or damaged.
        ValueError: the file is no published checkpoint.
    """
    device = pick_device() if device is None else torch.device(device)
    path = SHIPPED if weights is None else Path(weights)
    if path.is_file():
        model, clip = load_published(path)
        return Embedder(model, EmbedderConfig(clip), file_identity(path), device)
    missing = [name for name in (CONFIG, MODEL) if not (path / name).is_file()]
    if missing:
        raise OSError(
            f"{path} has no {' and no '.join(missing)}; give a folder that train.daclip wrote, "
            "or a published DA-CLIP checkpoint"
        )
    try:
        config = EmbedderConfig.read(path / CONFIG)
        model = build(config.clip)
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{path / CONFIG} is damaged ({error!r}); get a fresh copy of it") from error
    try:
        load_strictly(model, load_file(path / MODEL), path / MODEL)
    except (ValueError, SafetensorError) as error:
        raise OSError(f"{path / MODEL} is damaged ({error}); get a fresh copy of it") from error
    return Embedder(model, config, folder_identity(path), device)


def save_embedder(model: DaCLIP, config: EmbedderConfig, folder: Path) -> None:
    """Write `config.json` and the weights, in half precision, which moves no embedding by more than 1 %."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(asdict(config), indent=1)
    (folder / CONFIG).write_text(settings + "\n", encoding="utf-8")
    state = {k: v.detach().half().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / MODEL)


def file_identity(path: Path) -> str:
    """Name of a file without its suffix and the first 12 hex digits of its SHA-256."""
    with path.open("rb") as file:
        return f"{path.stem}@{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"
