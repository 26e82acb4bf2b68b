"""What the server remembers of one visitor to the Restore tab: photos, results, gallery, own checkpoint."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.restorers import Choice
from app.session import SessionPhoto
from app.widgets.zoom_grid import PATCH_SIZES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from gendeg_core.metrics.appearance import Appearance

INPUT, CLEAN = "input", "clean"  # keys of the versions that no network made


@dataclass(frozen=True)
class Version:
    """One picture of a comparison: the degraded input, what a network made of it, or the clean photo.

    Args:
        samples: file with the pixels as integers (h, w, 3) of the photo's own depth.
        shown: file that the browser gets.
        seconds: time in the network; None where none worked.
        psnr, ssim: against the clean photo where it is known.
    """

    key: str
    title: str
    badges: tuple[str, ...]
    samples: Path
    shown: str
    appearance: Appearance
    model: str = ""
    seconds: float | None = None
    tile: int | None = None
    weights: str = ""
    psnr: float | None = None
    ssim: float | None = None

    def open_samples(self) -> np.ndarray:
        """The pixels, read from the file where they are needed."""
        import numpy as np

        return np.load(self.samples, mmap_mode="r")

    def pixels(self) -> Tensor:
        """(3, h, w) in [0, 1] that write back to exactly the same samples."""
        import numpy as np
        import torch

        samples = self.open_samples()
        return torch.from_numpy(samples.transpose(2, 0, 1) / np.float32(np.iinfo(samples.dtype).max))


@dataclass
class Comparison:
    """One photo in several versions, filled one after the other.

    Args:
        photo: what was restored.
        side: the short side that was asked for; 0 for the photo's own.
        size: width and height at which it was.
        full: whether that is the photo's own size.
        expected: titles of the networks still to come.
    """

    photo: SessionPhoto
    side: int
    size: tuple[int, int]
    full: bool
    versions: list[Version]
    expected: list[str]

    def version(self, key: str) -> Version | None:
        return next((one for one in self.versions if one.key == key), None)


@dataclass(frozen=True)
class GalleryRow:
    """One photo of the gallery; small copies, so that a long gallery stays small.

    Args:
        name: the photo's name.
        cells: column title to (whole picture, magnified patch, note); pictures are bytes (h, w, 3).
        box: the patch in shares of the picture: left, top, width, height.
    """

    name: str
    cells: dict[str, tuple[np.ndarray, np.ndarray, str]]
    box: tuple[float, float, float, float]


class RestoreSession:
    """Kept in a `gr.State`, one per visitor and tab.

    `ticket`, `cancels` and `armed` count as in `session.Session`. A plain class, because Gradio writes the
    fields of a dataclass into the page.
    """

    def __init__(self) -> None:
        self.photo: SessionPhoto | None = None
        self.clean: SessionPhoto | None = None
        self.own: Choice | None = None
        self.comparison: Comparison | None = None
        self.gallery: list[GalleryRow] = []
        self.patch: tuple[float, float, float] = (0.5, 0.5, PATCH_SIZES[1])
        self.ticket = self.cancels = self.armed = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def take_ticket(self) -> int:
        self.ticket += 1
        return self.ticket

    def folder(self) -> Path:
        """A folder of this visitor's own, gone when the session is."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="gendeg-restore-", ignore_cleanup_errors=True)
        return Path(self._folder.name)

    def fresh_folder(self, ticket: int) -> Path:
        """An empty folder for the versions of one comparison; those of earlier ones are removed."""
        for old in self.folder().glob("run*"):
            shutil.rmtree(old, ignore_errors=True)
        folder = self.folder() / f"run{ticket}"
        folder.mkdir()
        return folder
