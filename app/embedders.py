"""DA-CLIP in the app: installed weights or a visitor's own, and the one place where they work."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.zerogpu import gpu_task
from gendeg_core.paths import ASSETS

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.embed.loading import Embedder

NONE_INSTALLED = (
    "Photos cannot be embedded here yet: assets/weights/daclip holds no DA-CLIP weights. Train them with "
    "python -m train.daclip, start the app with --daclip PATH, or add weights of your own."
)
KEPT = 2  # sets of weights that stay in memory
_loaded: dict[str, Embedder] = {}
_lock = threading.Lock()
_default: list[str] = []  # what --daclip named


@dataclass(frozen=True, eq=False)
class Seen:
    """What DA-CLIP sees in one picture.

    Args:
        content, degradation: (D,) float32, not normalised.
        scores: probability of each degradation, the most likely first.
    """

    content: NDArray[np.float32]
    degradation: NDArray[np.float32]
    scores: dict[str, float]
    weights: str

    @property
    def predicted(self) -> str:
        return next(iter(self.scores))

    @property
    def score(self) -> float:
        return self.scores[self.predicted]


def use(weights: Path) -> None:
    """Embed with these weights, a folder or a published checkpoint, in place of the shipped ones.

    Raises:
        ValueError: they cannot be opened.
    """
    get_embedder(str(weights))
    _default[:] = [str(weights)]


def installed() -> bool:
    """Whether photos can be embedded without weights of the visitor's own; nothing is loaded to find out."""
    from gendeg_core.embed import loading

    return bool(_default) or all(
        (loading.SHIPPED / name).is_file() for name in (loading.CONFIG, loading.MODEL)
    )


def get_embedder(own: str | None = None) -> Embedder:
    """The embedder with the weights at `own`, or with the installed ones.

    Raises:
        ValueError: there are none, or they cannot be opened; the sentence names no folder of the server.
    """
    from gendeg_core.embed import loading

    if own is None and not installed():
        raise ValueError(NONE_INSTALLED)
    path = own or next(iter(_default), str(loading.SHIPPED))
    with _lock:
        if path not in _loaded:
            try:
                _loaded[path] = loading.load_embedder(path)
            except (OSError, ValueError, RuntimeError) as error:
                text = str(error).replace(path, Path(path).name).replace(f"{ASSETS.parent}/", "")
                raise ValueError(text) from error
            for old in list(_loaded)[:-KEPT]:
                del _loaded[old]
        return _loaded[path]


def look(image: Tensor, own: str | None = None) -> Seen:
    """Embed `image`, (3, H, W) in [0, 1]."""
    get_embedder(own)  # in this process: on ZeroGPU the worker is a fork of it and inherits the weights
    return _look_on_gpu(image, own)


@gpu_task(seconds=30)
def _look_on_gpu(image: Tensor, own: str | None) -> Seen:
    embedder = get_embedder(own)
    content, degradation = embedder.embed(image[None])
    scores = embedder.scores(degradation)[0].tolist()
    ranked = sorted(zip(map(str, embedder.degradations), scores, strict=True), key=lambda one: -one[1])
    return Seen(content[0].numpy(), degradation[0].numpy(), dict(ranked), embedder.weights)


def warm_up() -> None:
    """Load what is installed, so that the first photo lands at once."""
    if installed():
        get_embedder()
