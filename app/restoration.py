"""What the Restore tab does with a photo that is in: let the chosen networks restore it, show them together.

Everything is computed by the core; these functions parse, call and format. `compare` is a generator that
repaints the page after every network, and that a cancel or a newer photo ends between two tiles.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np

from app import restorers
from app.cancel import CancelledError, stoppable
from app.pictures import browser_file
from app.refusals import expected, refusal, sentence
from app.restore_intake import opening
from app.restore_session import CLEAN, INPUT, Comparison, RestoreSession, Version
from app.restore_tables import numbers_table, panes_of
from app.session import LONGEST_TO_SHORTEST, SessionPhoto, photo_of, read, small_copy
from app.widgets.status_line import say
from gendeg_core.statistics import to_uint8
from gendeg_core.types import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from gendeg_core.images import Photo
    from gendeg_core.restore.infer import Restored

FULL = 0  # the side that stands for the photo's own size
SIDES = (512, 1024, FULL)
AT_ONCE = 1_100_000  # pixels; a photo up to here is restored as soon as it comes in
NOT_A_SIDE = "size {!r} is unknown; choose one of " + ", ".join(map(str, SIDES)) + " (0 is the photo's own)"


class Page(NamedTuple):
    """One repaint of the result side of the tab; parts that are not given stay as they are."""

    status: Any = gr.skip()
    swipe: Any = gr.skip()
    left: Any = gr.skip()
    right: Any = gr.skip()
    numbers: Any = gr.skip()
    grid: Any = gr.skip()
    wanted: Any = gr.skip()  # which version to download
    file: Any = gr.skip()


@dataclass(frozen=True, eq=False)
class Material:
    """What the networks get and what they are judged by; `full` says that nothing was scaled down."""

    pixels: Tensor  # (3, h, w) in [0, 1]
    clean: Tensor | None
    bits: int
    full: bool
    folder: Path  # where the versions are kept


def choices_of(session: RestoreSession) -> list[restorers.Choice]:
    """All networks this visitor can choose."""
    return [*restorers.shipped_choices(), *([session.own] if session.own else [])]


def compare_at_once(session: RestoreSession, keys: list[str], side: int) -> Iterator[Page]:
    """`compare` for a photo that has just come in; a large one waits for the button."""
    photo = session.photo
    if photo is None:
        yield _empty()
        return
    if not choices_of(session):
        yield _empty()._replace(status=say(restorers.NONE_SHIPPED))
        return
    if pixels_at(photo, side) > AT_ONCE:
        yield _empty()._replace(status=say(f"{opening(photo)} Press “Restore” to start."))
        return
    yield from compare(session, keys, side)


def measure_anew(session: RestoreSession, keys: list[str], side: int) -> Iterator[Page]:
    """The clean version came or went: what is on the page is measured by it, without working once more."""
    comparison = session.comparison
    if comparison is None:
        yield from compare_at_once(session, keys, side)
        return
    try:
        yield Page(status=say("Measuring", 0))
        measured = measured_anew(comparison, session.clean)
    except Exception as error:
        if expected(error):
            yield Page(status=say(sentence(error)))
            raise refusal(error) from error
        raise
    if session.comparison is not comparison:  # a new photo has come in
        yield Page()
        return
    session.comparison = measured
    yield _page(session, measured)._replace(status=say(_finished(measured)))


def compare(session: RestoreSession, keys: Sequence[str] | None, side: int) -> Iterator[Page]:
    """Restore the photo with every chosen network; the page grows by one version per network."""
    ticket, wanted = session.take_ticket(), session.armed
    try:
        photo = photo_of(session)
        chosen = restorers.pick(keys, choices_of(session))
        yield Page(status=say("Reading the photo", 0))
        material = material_of(photo, session.clean, side, session.fresh_folder(ticket))
        comparison = begin(photo, material, side, chosen)
        session.comparison = comparison
        yield _page(session, comparison)._replace(file=gr.update(value=None, interactive=False))
        for number, choice in enumerate(chosen):
            yield Page(status=say(f"Loading {choice.title}", number / len(chosen)))
            started = time.perf_counter()
            run = restorers.run(choice.model, choice.weights, material.pixels)
            with closing(stoppable(session, wanted, run)) as steps:
                for item in steps:
                    if session.ticket != ticket:
                        yield Page()  # Gradio empties the outputs of a generator that ends without a word
                        return
                    if isinstance(item, Progress):
                        spent = time.perf_counter() - started
                        yield Page(status=_where(choice.title, number, len(chosen), item, spent))
                        continue
                    comparison.versions.append(restored_version(choice, item, material))
                    comparison.expected.pop(0)
                    yield _page(session, comparison)
        yield _page(session, comparison)._replace(status=say(_finished(comparison)))
    except CancelledError:
        yield _cancelled(session)
    except Exception as error:
        if not expected(error):
            yield _stopped(session, "Something went wrong on the server; the log has the details.")
            raise
        yield _stopped(session, sentence(error))
        raise refusal(error) from error


def pixels_at(photo: SessionPhoto, side: object) -> int:
    """How many pixels the networks get when a photo is restored at this side."""
    width, height = photo.size
    shrink = _shrink(photo.size, side)
    return round(width * shrink) * round(height * shrink)


def _shrink(size: tuple[int, int], side: object) -> float:
    if side not in SIDES:
        raise ValueError(NOT_A_SIDE.format(side))
    if side == FULL:
        return 1.0
    length = int(str(side))
    return min(1.0, length / min(size), length * LONGEST_TO_SHORTEST / max(size))


def material_of(photo: SessionPhoto, clean: SessionPhoto | None, side: object, folder: Path) -> Material:
    """The photo, and its clean version where there is one, at the size that was asked for."""
    full = _shrink(photo.size, side) == 1.0
    whole = read_again(photo.path)
    truth = read_again(clean.path).pixels if clean else None
    if full:
        return Material(whole.pixels, truth, whole.bits, True, folder)
    pixels, truth = (None if one is None else _small(one, int(str(side))) for one in (whole.pixels, truth))
    assert pixels is not None, "there is a photo"
    return Material(pixels, truth, 8, False, folder)


def _small(pixels: Tensor, side: int) -> Tensor:
    from PIL import Image

    return small_copy(Image.fromarray(to_uint8(pixels)), side)


def read_again(path: Path) -> Photo:
    if not path.exists():
        raise ValueError("The photo is no longer on the server; add it again.")
    return read(path)


def begin(
    photo: SessionPhoto, material: Material, side: int, chosen: Sequence[restorers.Choice]
) -> Comparison:
    """A comparison that holds the input, the clean version where it is known, and no network yet."""
    _, height, width = material.pixels.shape
    versions = [_version(INPUT, "Input", material.pixels, material)]
    if material.clean is not None:
        versions.append(_version(CLEAN, "Clean", material.clean, replace(material, clean=None)))
    titles = [choice.title for choice in chosen]
    return Comparison(photo, side, (width, height), material.full, versions, titles)


def measured_anew(comparison: Comparison, clean: SessionPhoto | None) -> Comparison:
    """What the networks made, measured against this clean version, or against none."""
    folder = comparison.versions[0].samples.parent
    material = material_of(comparison.photo, clean, comparison.side, folder)
    measured = begin(comparison.photo, material, comparison.side, [])
    for version in comparison.versions:
        if version.seconds is not None:
            psnr, ssim = _fidelity(version.pixels(), material)
            measured.versions.append(replace(version, psnr=psnr, ssim=ssim))
    return measured


def restored_version(choice: restorers.Choice, restored: Restored, material: Material) -> Version:
    made = _version(choice.key, choice.title, restored.image, material)
    return replace(
        made,
        badges=choice.badges,
        seconds=restored.seconds,
        tile=restored.tile,
        model=restored.model,
        weights=restored.weights,
    )


def _version(key: str, title: str, pixels: Tensor, material: Material) -> Version:
    from gendeg_core.metrics.appearance import appearance

    eight = to_uint8(pixels)
    path = material.folder / f"{key}.npy"
    np.save(path, eight if material.bits == 8 else sixteen_bit(pixels))
    psnr, ssim = _fidelity(pixels, material)
    return Version(key, title, (), path, browser_file(eight), appearance(pixels), psnr=psnr, ssim=ssim)


def sixteen_bit(pixels: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] to 16-bit samples (H, W, 3)."""
    samples = pixels.permute(1, 2, 0).mul(65535).round().clamp(0, 65535)
    return samples.cpu().numpy().astype(np.uint16)


def _fidelity(pixels: Tensor, material: Material) -> tuple[float | None, float | None]:
    return (None, None) if material.clean is None else fidelity(pixels, material.clean)


def fidelity(pixels: Tensor, clean: Tensor) -> tuple[float, float | None]:
    """PSNR and SSIM of the 8-bit pictures; no SSIM for pictures smaller than its window needs."""
    from gendeg_core.metrics.fidelity import SMALLEST_SSIM, as_stored, psnr, ssim

    stored, truth = as_stored(pixels), as_stored(clean)
    large = min(clean.shape[1:]) >= SMALLEST_SSIM
    return psnr(stored, truth), ssim(stored, truth) if large else None


def pair_shown(session: RestoreSession, left: str | None, right: str | None) -> Any:
    """The two versions that the swipe compares."""
    comparison = session.comparison
    versions = [comparison.version(str(key)) if comparison else None for key in (left, right)]
    if any(version is None for version in versions):
        return gr.update(value=None)
    return tuple(version.shown for version in versions if version)


def _page(session: RestoreSession, comparison: Comparison) -> Page:
    """Everything that follows from the versions there are: swipe, table, grid, what can be downloaded."""
    names = [(version.title, version.key) for version in comparison.versions]
    networks = [version.key for version in comparison.versions if version.seconds is not None]
    right = networks[0] if networks else names[-1][1]
    return Page(
        swipe=pair_shown(session, INPUT, right),
        left=gr.update(choices=names, value=INPUT),
        right=gr.update(choices=names, value=right),
        numbers=gr.update(value=numbers_table(comparison), visible=True),
        grid=panes_of(comparison, session.patch),
        wanted=gr.update(
            choices=[name for name in names if name[1] in networks], value=networks[0] if networks else None
        ),
    )


def _empty() -> Page:
    """Nothing of the photo before stays on the page."""
    from app.widgets.zoom_grid import Panes

    nothing = gr.update(choices=[], value=None)
    no_file = gr.update(value=None, interactive=False)
    return Page(
        swipe=gr.update(value=None), left=nothing, right=nothing, numbers=gr.update(value="", visible=False),
        grid=Panes(), wanted=nothing, file=no_file,
    )  # fmt: skip


def _where(title: str, number: int, total: int, progress: Progress, spent: float) -> dict[str, Any]:
    text = tiles_done(title, progress, spent)
    if total > 1:
        text += f"; network {number + 1} of {total}"
    return say(text, (number + progress.done / progress.total) / total)


def tiles_done(title: str, progress: Progress, spent: float) -> str:
    """How far one network is after `spent` seconds."""
    if progress.total == 1:
        return f"{title} at work"
    text = f"{title}: tile {progress.done} of {progress.total}"
    if progress.done:
        text += f", about {spent / progress.done * (progress.total - progress.done):.0f} s left"
    return text


def _finished(comparison: Comparison) -> str:
    width, height = comparison.size
    made = [version for version in comparison.versions if version.seconds is not None]
    seconds = sum(version.seconds or 0 for version in made)
    text = f"{len(made)} {'network' if len(made) == 1 else 'networks'} at {width} × {height} pixels"
    if not comparison.full:
        text += " (scaled down; downloads are made at full size)"
    return f"{text} in {seconds:.1f} s."


def _cancelled(session: RestoreSession) -> Page:
    comparison = session.comparison
    if comparison is None:
        return Page(status=say("Cancelled before anything was restored."))
    done = sum(version.seconds is not None for version in comparison.versions)
    total = done + len(comparison.expected)
    return _stopped(session, f"Cancelled after {done} of {total} networks; those that are finished stay.")


def _stopped(session: RestoreSession, text: str) -> Page:
    """Says `text`; the panes that wait for further networks go."""
    comparison = session.comparison
    if comparison is None or not comparison.expected:
        return Page(status=say(text))
    comparison.expected = []
    return _page(session, comparison)._replace(status=say(text))
