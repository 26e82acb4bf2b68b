"""The restoration networks: which there are, their names and badges, and the one place where they work."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.zerogpu import gpu_task
from gendeg_core.paths import ASSETS
from gendeg_core.types import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.restore.infer import Restored
    from gendeg_core.restore.loading import Label, Restorer

MODEL_NAMES = {"nafnet": "NAFNet", "promptir": "PromptIR", "swin": "Swin"}
TRAINING_NAMES = {"existing": "existing data", "gends": "existing + GenDS"}
OWN = "own"  # the key of a visitor's checkpoint
ANY = "any"  # asks for whatever network a checkpoint holds
MOST = 6  # networks side by side
NONE_SHIPPED = (
    "No restoration networks are installed here yet: assets/weights holds none. Train them with "
    "python -m train.restore, or add a checkpoint of your own."
)
KEPT_OWN = 2  # checkpoints of visitors that stay in memory
_loaded: dict[tuple[str, str], Restorer] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Choice:
    """One network with one set of weights, as the page offers it.

    Args:
        key: names it in the controls and in file names.
        model, weights: what `load_restorer` is given.
        title: the name for people; a visitor's file name may be part of it.
        badges: what it was trained on and how small it is.
        about: where it is weak, or what is known of it, one sentence.
    """

    key: str
    model: str
    weights: str
    title: str
    badges: tuple[str, ...]
    about: str


def shipped_choices() -> list[Choice]:
    """The networks whose weights are installed, each model's trainings side by side."""
    from gendeg_core.restore.loading import available

    order = [(model, training) for model in MODEL_NAMES for training in TRAINING_NAMES]
    return [_choice(label) for label in sorted(available(), key=lambda one: order.index(_pair(one)))]


def _pair(label: Label) -> tuple[str, str]:
    return label.model, label.training


def _choice(label: Label) -> Choice:
    name, training = MODEL_NAMES[label.model], TRAINING_NAMES[label.training]
    size = f"{label.parameters / 1e6:.1f} M parameters"
    data, crops = label.data.rstrip("."), _grouped(label.samples)
    return Choice(
        key=f"{label.model}_{label.training}",
        model=label.model,
        weights=label.training,
        title=f"{name}, {training}",
        badges=(training, size, f"{_grouped(label.steps)} steps"),
        about=f"Trained on {data}; {crops} crops seen. {label.weak}".strip(),
    )


def _grouped(count: int) -> str:
    """30000 as 30 000, with a space that does not break."""
    return f"{count:,}".replace(",", "\N{NO-BREAK SPACE}")


def own_choice(path: Path) -> Choice:
    """A visitor's checkpoint, a file or a folder. It is loaded here, so that one that cannot be used is
    refused at once.

    Raises:
        ValueError: it cannot be opened; the sentence says why.
    """
    restorer = get_restorer(ANY, str(path))
    parameters = sum(parameter.numel() for parameter in restorer.net.parameters())
    kind = MODEL_NAMES.get(restorer.model, restorer.model)
    badges = ("your checkpoint", kind, f"{parameters / 1e6:.1f} M parameters")
    about = "Your own checkpoint; nothing is known here of how it was trained."
    return Choice(OWN, ANY, str(path), _own_title(path), badges, about)


def _own_title(path: Path) -> str:
    return "Your network" if path.is_dir() else f"Your file {path.name}"


def pick(keys: Sequence[str] | None, choices: Sequence[Choice]) -> list[Choice]:
    """The choices called `keys`, in the order of `choices`.

    Raises:
        ValueError: none, too many, or a name that is not offered.
    """
    if not choices:
        raise ValueError(NONE_SHIPPED)
    if not keys:
        raise ValueError("No network is chosen; tick at least one.")
    unknown = [key for key in keys if key not in {choice.key for choice in choices}]
    if unknown:
        known = ", ".join(choice.key for choice in choices)
        raise ValueError(f"unknown network {unknown[0]!r}; choose from {known}")
    chosen = [choice for choice in choices if choice.key in keys]
    if len(chosen) > MOST:
        raise ValueError(f"{len(chosen)} networks are too many to compare; choose at most {MOST}")
    return chosen


def get_restorer(model: str, weights: str) -> Restorer:
    """The network with these weights, loaded at the first call; visitors' files do not stay for long.

    Raises:
        ValueError, OSError: it cannot be loaded; the server's folders are kept out of the sentence.
    """
    from gendeg_core.restore.loading import load_restorer

    with _lock:
        if (model, weights) not in _loaded:
            try:
                _loaded[model, weights] = load_restorer(model, weights)
            except (OSError, ValueError, ImportError, RuntimeError) as error:
                raise ValueError(_without_folders(str(error), weights)) from error
            _forget_old()
        return _loaded[model, weights]


def _without_folders(text: str, weights: str) -> str:
    return text.replace(weights, Path(weights).name).replace(f"{ASSETS.parent}/", "")


def _forget_old() -> None:
    own = [key for key in _loaded if key[1] not in TRAINING_NAMES]
    for key in own[:-KEPT_OWN]:
        del _loaded[key]


def warm_up() -> None:
    """Load what is installed, so that the first visitor need not wait; they are a few megabytes each."""
    for choice in shipped_choices():
        get_restorer(choice.model, choice.weights)


def run(model: str, weights: str, image: Tensor, tile: int | None = None) -> Generator[Progress | Restored]:
    """Restore `image` (3, H, W); closing the iterator cancels between two tiles.

    Raises:
        ValueError: the network cannot be loaded, or one of a visitor's own fails on this image.
    """
    from gendeg_core.device import out_of_memory

    get_restorer(model, weights)  # in this process: on ZeroGPU the worker is a fork of it and inherits them
    try:
        yield from _run_on_gpu(model, weights, image, tile)
    except RuntimeError as error:
        if model != ANY or out_of_memory(error):
            raise
        why = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{_own_title(Path(weights))} cannot restore this photo; choose another network. It says: {why}"
        ) from error


@gpu_task(seconds=120)
def _run_on_gpu(model: str, weights: str, image: Tensor, tile: int | None) -> Generator[Progress | Restored]:
    from gendeg_core.restore.infer import restore_steps

    yield from restore_steps(get_restorer(model, weights), image, tile=tile)
