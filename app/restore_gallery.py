"""The gallery: comparisons of several photos below each other, saved as one figure."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from app.figures import gallery_figure
from app.pictures import browser_file
from app.refusals import in_sentences
from app.restore_session import CLEAN, INPUT, Comparison, GalleryRow, RestoreSession, Version
from app.restore_tables import version_note
from app.settings import number
from app.widgets.status_line import say
from app.widgets.zoom_grid import PATCH_SIZES

MOST_ROWS = 12
CELL = 480  # longest side in pixels of a picture in the gallery
FORMATS = ("png", "pdf")
NOTHING = "Compare something first, then add it to the gallery."


def mark_patch(session: RestoreSession, event: gr.EventData) -> None:
    """Remember the patch that was clicked; it comes from a browser, so it is checked."""
    x, y = number("x", event.x), number("y", event.y)
    size = number("size", event.size)
    if not (0 <= x <= 1 and 0 <= y <= 1 and size in PATCH_SIZES):
        raise gr.Error(f"the patch x={x}, y={y}, size={size} lies outside the picture", print_exception=False)
    session.patch = (x, y, size)


@in_sentences
def add_row(session: RestoreSession) -> Iterator[tuple[Any, ...]]:
    """The comparison on the page becomes the last row; yields (status, picture of the gallery, buttons)."""
    comparison = session.comparison
    if comparison is None or not any(version.seconds is not None for version in comparison.versions):
        raise ValueError(NOTHING)
    if len(session.gallery) >= MOST_ROWS:
        raise ValueError(f"The gallery has {MOST_ROWS} rows, which is its most; save it and clear it.")
    session.gallery.append(row_of(comparison, session.patch))
    yield _painted(session, f"Row {len(session.gallery)} added to the gallery: {comparison.photo.name}.")


def drop_row(session: RestoreSession) -> tuple[Any, ...]:
    """Take the last row away again."""
    if session.gallery:
        session.gallery.pop()
    return _painted(session, f"The gallery has {len(session.gallery)} rows.")


def clear(session: RestoreSession) -> tuple[Any, ...]:
    session.gallery.clear()
    return _painted(session, "The gallery is empty.")


def _painted(session: RestoreSession, text: str) -> tuple[Any, ...]:
    rows = session.gallery
    buttons = [gr.update(interactive=bool(rows))] * 3
    if not rows:
        return say(text), gr.update(value=None, visible=False), *buttons
    pixels = gallery_figure(rows, dpi=110)
    return say(text), gr.update(value=browser_file(pixels), visible=True), *buttons


@in_sentences
def save_figure(session: RestoreSession, form: str) -> Iterator[tuple[Any, Any]]:
    """The whole gallery as one file; yields (file for the download button, status)."""
    if form not in FORMATS:
        raise ValueError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")
    if not session.gallery:
        raise ValueError(NOTHING)
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        path = Path(folder) / f"comparison.{form}"
        gallery_figure(session.gallery, dpi=200, path=path)
        text = f"Figure ready: {len(session.gallery)} rows, {path.stat().st_size / 1e6:.1f} MB."
        yield gr.update(value=str(path), interactive=True), say(text)


def row_of(comparison: Comparison, patch: tuple[float, float, float]) -> GalleryRow:
    """Small copies of all versions, each with its patch: twice as wide as high, as on the page."""
    width, height = comparison.size
    share = min(1.0, patch[2] * width / height / 2)
    left = min(max(patch[0] - patch[2] / 2, 0), 1 - patch[2])
    top = min(max(patch[1] - share / 2, 0), 1 - share)
    box = (left, top, patch[2], share)
    order = [INPUT, *(one.key for one in comparison.versions if one.seconds is not None), CLEAN]
    versions = [version for key in order if (version := comparison.version(key)) is not None]
    cells = {one.title: (*_pictures(one, box), version_note_without_time(one)) for one in versions}
    return GalleryRow(comparison.photo.name, cells, box)


def version_note_without_time(version: Version) -> str:
    """Timing belongs to a machine, not into a figure."""
    return version_note(version).split(" · ")[0] if version.psnr is not None else ""


def _pictures(version: Version, box: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture made small, and the patch at its own resolution; bytes (h, w, 3)."""
    from PIL import Image

    samples = version.open_samples()
    height, width = samples.shape[:2]
    across, down = max(1, round(box[2] * width)), max(1, round(box[3] * height))
    x, y = min(round(box[0] * width), width - across), min(round(box[1] * height), height - down)
    whole = Image.fromarray(_eight_bit(samples))
    whole.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return np.asarray(whole), _eight_bit(samples[y : y + down, x : x + across]).copy()


def _eight_bit(samples: np.ndarray) -> np.ndarray:
    return np.asarray(samples) if samples.dtype == np.uint8 else np.round(samples / 257).astype(np.uint8)
