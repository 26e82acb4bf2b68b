"""What the Synthesize tab does with one picture: open a photo, preview it degraded, write the full-size file.

Every function parses, calls the core once per picture and formats. The long ones are generators, so that a
cancel stops them between two units of work. Yielded `View` parts that are not given leave the page as it is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
import numpy as np

from app import engines
from app.cancel import CancelledError, until_cancelled
from app.examples import example_photos
from app.figures import heat_map
from app.refusals import in_sentences, refusal, sentence
from app.session import (
    NO_PHOTO,
    PREVIEW_SIDES,
    Session,
    SessionPhoto,
    open_photo,
    photo_of,
    preview_copy,
    read,
)
from app.settings import Job, file_stem, read_job
from app.widgets.readout import readout_value
from app.widgets.status_line import say
from gendeg_core.images import write_photo
from gendeg_core.statistics import (
    MU_EDGES,
    SIGMA_EDGES,
    bin_index,
    draw_intensity,
    published_histogram,
    to_uint8,
)
from gendeg_core.types import Degradation, DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

SHOWN_BY_BROWSERS = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif"}
NEAR = 6  # bins of the published histogram, 0.03 in mu and 0.02 in sigma: what "any like it" means


class View(NamedTuple):
    """One repaint of the result side of the page."""

    status: Any = gr.skip()
    compare: Any = gr.skip()
    heat: Any = gr.skip()
    readout: Any = gr.skip()
    pad: Any = gr.skip()


# ---------------------------------------------------------------------------------------------- photo


class PhotoView(NamedTuple):
    """What changes on the page when a photo comes in."""

    status: Any = gr.skip()
    photo: Any = gr.skip()
    caption: Any = gr.skip()


def take_photo(session: Session, path: str | None, caption: str) -> Iterator[PhotoView]:
    """Make the file at `path` this visitor's photo. What was typed stays; a refused file changes nothing."""
    try:
        opened = open_photo(path) if path else None
    except (ValueError, OSError) as error:
        former = str(session.photo.path) if session.photo else None
        yield PhotoView(status=say(sentence(error)), photo=gr.update(value=former))
        raise refusal(error) from error
    session.take_ticket()  # a preview still running belongs to the old photo
    session.photo, session.shown = opened, None
    if opened is None:
        yield PhotoView(status=say(NO_PHOTO))
        return
    width, height = opened.size
    shown = (
        gr.skip()
        if opened.path.suffix.lower() in SHOWN_BY_BROWSERS
        else gr.update(value=browser_copy(opened))
    )
    yield PhotoView(
        status=say(f"Photo opened: {width} × {height} pixels. {' '.join(opened.warnings)}".strip()),
        photo=shown,
        # a caption that came with an example describes that example only
        caption="" if caption in {example.caption for example in example_photos()} else gr.skip(),
    )


def browser_copy(photo: SessionPhoto) -> np.ndarray:
    """Bytes (h, w, 3) for the photo box when browsers cannot show the file itself, as with TIFF."""
    return to_uint8(photo.copies[PREVIEW_SIDES[-1]])


def take_example(session: Session, index: int, caption: str) -> tuple[str, Any]:
    """An example becomes the photo; returns its path, and its caption unless the visitor typed another."""
    example = example_photos()[index]
    session.take_ticket()
    session.photo, session.shown = open_photo(example.path), None
    typed = caption.strip() and caption not in {other.caption for other in example_photos()}
    return str(example.path), gr.skip() if typed else example.caption


# -------------------------------------------------------------------------------------------- preview


def preview(session: Session, side: int, *controls: Any) -> Iterator[View]:
    """The small copy degraded as the controls say: picture and numbers first, then the map.

    A newer request makes this one end without painting.
    """
    ticket = session.take_ticket()
    run = until_cancelled(session, session.cancels)
    try:
        photo = photo_of(session)
        job = read_job(*controls)
        clean = preview_copy(photo, side)
        started = time.perf_counter()
        for item in run(clean, job):
            if session.ticket != ticket:
                yield View()  # Gradio empties the outputs of a generator that ends without a word
                return
            if isinstance(item, DegradationResult):
                session.shown = item
                yield from show(item, clean, time.perf_counter() - started)
            elif item.total > 1:
                yield View(status=say(f"Rendering: step {item.done} of {item.total}", item.done / item.total))
    except CancelledError:
        yield View(status=say("Cancelled: the picture shows the settings before."))
    except (ValueError, OSError) as error:
        yield View(status=say(sentence(error)))
        raise refusal(error) from error


def show(result: DegradationResult, clean: Tensor, seconds: float) -> Iterator[View]:
    _, height, width = clean.shape
    yield View(
        status=say(f"Preview at {width} × {height} pixels in {seconds:.2f} s with {result.weights}."),
        compare=(to_uint8(clean), to_uint8(result.degraded)),
        readout=readout_value(result),
        pad=gr.update(obtained=[result.mu_obtained, result.sigma_obtained]),
    )
    yield View(heat=heat_map(result.degradation_map))


def surprise(degradation: str, seed: int | None = None) -> tuple[float, float]:
    """mu and sigma drawn as the published data factory draws them; without a seed, fresh each time."""
    drawn = draw_intensity(Degradation.parse(degradation), np.random.default_rng(seed))
    return round(drawn.mu, 3), round(drawn.sigma, 3)


def usual(degradation: str, mu: float, sigma: float) -> tuple[float, float]:
    """mu and sigma if the published pictures of this degradation have any like it, else their medians.

    A strength usual for haze is one that no motion blur has, and its picture would show none.

    Raises:
        ValueError: mu or sigma is no number from 0 up.
    """
    joint = published_histogram(Degradation.parse(degradation)).joint
    row, column = int(bin_index(mu, MU_EDGES)), int(bin_index(sigma, SIGMA_EDGES))
    if joint[max(row - NEAR, 0) : row + NEAR + 1, max(column - NEAR, 0) : column + NEAR + 1].any():
        return mu, sigma
    row = _median(joint.sum(1))
    return _centre(MU_EDGES, row), _centre(SIGMA_EDGES, _median(joint[row]))


def _median(counts: np.ndarray) -> int:
    return int(np.searchsorted(counts.cumsum(), counts.sum() / 2))


def _centre(edges: np.ndarray, number: int) -> float:
    return round(float(edges[number : number + 2].mean()), 3)


# ------------------------------------------------------------------------------------------ full size


class Rendered(NamedTuple):
    """A finished full-size file and what is known about it."""

    path: Path
    record: dict[str, Any]


def render_file(
    source: Path, folder: Path, job: Job, *, suffix: str, run: engines.Run = engines.run_job
) -> Iterator[Progress | Rendered]:
    """Degrade the photo in the file `source` at its own size and write it into `folder`.

    Bit depth, alpha, EXIF and colour profile are kept as far as the format of `suffix` can; the settings are
    stored inside the file and in its name.
    """
    photo = read(source)
    started = time.perf_counter()
    for item in run(photo.pixels, job):
        if isinstance(item, Progress):
            yield item
            continue
        record = record_of(item, job, time.perf_counter() - started)
        path = folder / f"{file_stem(source.stem, job.request)}{suffix}"
        write_photo(path, item.degraded, like=photo, settings=record)
        yield Rendered(path, record)


def record_of(result: DegradationResult, job: Job, seconds: float) -> dict[str, Any]:
    """What is stored inside the file and returned to API callers."""
    request = result.request
    return {
        "degradation": request.degradation.value,
        "mu": request.mu,
        "sigma": request.sigma,
        "mu_obtained": result.mu_obtained,
        "sigma_obtained": result.sigma_obtained,
        "seed": request.seed,
        "caption": request.caption,
        "engine": job.engine,
        "weights": result.weights,
        "steps": job.sampling.steps,
        "guidance": job.sampling.guidance,
        "image_guidance": job.sampling.image_guidance,
        "seconds": round(seconds, 3),
    }


@in_sentences
def full_size(session: Session, suffix: str, *controls: Any) -> Iterator[tuple[Any, Any]]:
    """The whole photo, rendered and written; yields (file for the download button, status)."""
    photo = photo_of(session)
    job = read_job(*controls)
    width, height = photo.size
    yield gr.skip(), say(f"Rendering {width} × {height} pixels", 0)
    if not photo.path.exists():
        raise ValueError("The photo is no longer on the server; add it again.")
    # Gradio makes the page's own copy when the path is yielded, so this folder can go right after.
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        started = time.perf_counter()
        steps = render_file(
            photo.path, Path(folder), job, suffix=suffix, run=until_cancelled(session, session.armed)
        )
        try:
            for item in steps:
                if isinstance(item, Rendered):
                    yield _file_ready(item, photo.size, time.perf_counter() - started)
                else:
                    text = f"Rendering {width} × {height} pixels: {item.done} of {item.total}"
                    yield gr.skip(), say(text, item.done / item.total)
        except CancelledError:
            yield gr.update(value=None, interactive=False), say("Cancelled: no file was written.")


def _file_ready(file: Rendered, size: tuple[int, int], seconds: float) -> tuple[Any, Any]:
    obtained = f"mu {file.record['mu_obtained']:.3f}, sigma {file.record['sigma_obtained']:.3f}"
    megabytes = file.path.stat().st_size / 1e6
    text = f"File ready: {size[0]} × {size[1]} pixels in {seconds:.1f} s, obtained {obtained}"
    return gr.update(value=str(file.path), interactive=True), say(f"{text}, {megabytes:.1f} MB.")
