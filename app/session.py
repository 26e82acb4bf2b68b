"""What the server remembers of one visitor: the photo, its small copies, and which request is the latest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from gendeg_core.images import ImageError, Photo, read_photo, read_picture

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.types import DegradationResult

NO_PHOTO = "Add a photo first: drop one on the photo box, paste one, or pick an example."
PREVIEW_SIDES = (256, 512)
LONGEST_TO_SHORTEST = 4  # a copy's long side is at most this many times the preview side


@dataclass(frozen=True)
class SessionPhoto:
    """The photo a visitor works on.

    Args:
        path: the file that came in; the full-size photo is read from it again when it is needed.
        name: the file's name without its ending, as the visitor knows it.
        size: width and height of the full photo.
        copies: preview side to a small copy, float32 (3, h, w) in [0, 1].
        warnings: what of the file could not be kept.
    """

    path: Path
    name: str
    size: tuple[int, int]
    copies: dict[int, Tensor]
    warnings: tuple[str, ...] = ()


class Session:
    """Kept in a `gr.State`, so one per visitor and tab; running handlers and buttons share it.

    `ticket` counts previews: only the latest may paint. `cancels` counts presses of the cancel button, and
    `armed` is that count when long work was asked for: a difference means that it is no longer wanted.
    `shown` is the result on the page, for whoever wants to go on with it.
    A plain class, because Gradio writes the fields of a dataclass into the page.
    """

    def __init__(self) -> None:
        self.photo: SessionPhoto | None = None
        self.shown: DegradationResult | None = None
        self.ticket = 0
        self.cancels = 0
        self.armed = 0

    def take_ticket(self) -> int:
        self.ticket += 1
        return self.ticket


def open_photo(path: str | Path) -> SessionPhoto:
    """Read the photo at `path` once and keep its small copies.

    Raises:
        ImageError: it cannot be read; the message names the file as the visitor knows it.
    """
    path = Path(path)
    with naming_no_folder(path):
        picture, warnings = read_picture(path)
    return SessionPhoto(
        path=path,
        name=path.stem,
        size=picture.size,
        copies={side: small_copy(picture, side) for side in PREVIEW_SIDES},
        warnings=tuple(warning.replace(str(path), path.name) for warning in warnings),
    )


def read(path: Path) -> Photo:
    """`read_photo`, with the server's folders kept out of what a visitor reads."""
    with naming_no_folder(path):
        return read_photo(path)


@contextmanager
def naming_no_folder(path: Path) -> Iterator[None]:
    """Refusals of `path` name the file as the visitor knows it."""
    try:
        yield
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), path.name)) from error


def small_copy(picture: Image.Image, side: int) -> Tensor:
    """(3, h, w) in [0, 1]: short side at most `side`, aspect ratio kept, never enlarged."""
    import torch

    shrink = min(1.0, side / min(picture.size), side * LONGEST_TO_SHORTEST / max(picture.size))
    width, height = (max(1, round(length * shrink)) for length in picture.size)
    if shrink < 1:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


class HasPhoto(Protocol):
    """A visitor to any tab that works on one photo."""

    photo: SessionPhoto | None


def photo_of(session: HasPhoto) -> SessionPhoto:
    if session.photo is None:
        raise ValueError(NO_PHOTO)
    return session.photo


def preview_copy(photo: SessionPhoto, side: object) -> Tensor:
    if side not in PREVIEW_SIDES:
        raise ValueError(
            f"preview size {side!r} is unknown; choose one of {', '.join(map(str, PREVIEW_SIDES))}"
        )
    return photo.copies[side]  # pyright: ignore[reportArgumentType]
