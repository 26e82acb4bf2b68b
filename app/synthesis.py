"""What the Synthesize tab does: open a photo, preview, sweep, all six, full-size file.

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
from gradio import processing_utils
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

from app import engines
from app.examples import example_photos
from app.figures import heat_map
from app.refusals import in_sentences, refusal, sentence
from app.session import PREVIEW_SIDES, Session, SessionPhoto, open_photo, read
from app.settings import Job, file_stem, read_job
from app.widgets.readout import readout_value
from app.widgets.status_line import say
from app.widgets.tile_grid import Tile, Tiles
from gendeg_core.images import write_photo
from gendeg_core.statistics import BINS, MU_EDGES, SIGMA_EDGES, draw_intensity, published_histogram, to_uint8
from gendeg_core.types import Degradation, DegradationRequest, DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

NO_PHOTO = "Add a photo first: drop one on the photo box, paste one, or pick an example."
SWEEP_COLUMNS, SWEEP_ROWS = 5, 4
SHOWN_BY_BROWSERS = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif"}


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
    session.photo = opened
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
    session.photo = open_photo(example.path)
    typed = caption.strip() and caption not in {other.caption for other in example_photos()}
    return str(example.path), gr.skip() if typed else example.caption


def photo_of(session: Session) -> SessionPhoto:
    if session.photo is None:
        raise ValueError(NO_PHOTO)
    return session.photo


def preview_copy(photo: SessionPhoto, side: object) -> Tensor:
    if side not in PREVIEW_SIDES:
        raise ValueError(
            f"preview size {side!r} is unknown; choose one of {', '.join(map(str, PREVIEW_SIDES))}"
        )
    return photo.copies[side]  # pyright: ignore[reportArgumentType]


# -------------------------------------------------------------------------------------------- preview


def preview(session: Session, side: int, *controls: Any) -> Iterator[View]:
    """The small copy degraded as the controls say: picture and numbers first, then the map.

    A newer request makes this one end without painting.
    """
    ticket = session.take_ticket()
    try:
        photo = photo_of(session)
        job = read_job(*controls)
        clean = preview_copy(photo, side)
        started = time.perf_counter()
        for item in engines.run(job.engine, clean, job.request, job.sampling):
            if session.ticket != ticket:
                return
            if isinstance(item, DegradationResult):
                yield from show(item, clean, time.perf_counter() - started)
            elif item.total > 1:
                yield View(status=say(f"Rendering: step {item.done} of {item.total}", item.done / item.total))
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


# ---------------------------------------------------------------------------------- sweep and all six


def sweep_axes(degradation: Degradation, columns: int, rows: int) -> tuple[list[float], list[float]]:
    """Evenly spaced mu and sigma between the 5 % and the 95 % quantile of the published histogram."""
    joint = published_histogram(degradation).joint
    return (
        _between_quantiles(joint.sum(1), MU_EDGES, columns),
        _between_quantiles(joint.sum(0), SIGMA_EDGES, rows),
    )


def _between_quantiles(counts: np.ndarray, edges: np.ndarray, number: int) -> list[float]:
    share = np.cumsum(counts) / counts.sum()
    low, high = (int(np.searchsorted(share, quantile)) for quantile in (0.05, 0.95))
    return [round(float(v), 3) for v in np.linspace(edges[low], edges[min(high + 1, BINS)], number)]


@in_sentences
def draw_sweep(session: Session, side: int, *controls: Any) -> Iterator[tuple[Any, Any]]:
    """mu across, sigma down, over the published range of the chosen degradation; one more tile per yield."""
    job = read_job(*controls)
    jobs, mus, sigmas = sweep_jobs(job, SWEEP_COLUMNS, SWEEP_ROWS)
    tiles = Tiles(
        columns=SWEEP_COLUMNS,
        column_heads=[f"mu {mu:.2f}" for mu in mus],
        row_heads=[f"sigma {sigma:.2f}" for sigma in sigmas],
        tiles=[_blank_tile("", one.request) for one in jobs],
    )
    yield from fill_tiles(preview_copy(photo_of(session), side), tiles, jobs)


def sweep_jobs(job: Job, columns: int, rows: int) -> tuple[list[Job], list[float], list[float]]:
    """The jobs of a sweep row by row, smallest sigma first, with the values across and down."""
    mus, sigmas = sweep_axes(job.request.degradation, columns, rows)
    jobs = [_changed(job, job.request.degradation, mu, sigma) for sigma in sigmas for mu in mus]
    return jobs, mus, sigmas


@in_sentences
def draw_all_six(session: Session, side: int, *controls: Any) -> Iterator[tuple[Any, Any]]:
    """The six degradations of one photo, each asked for the same mu, sigma and seed."""
    jobs = all_six_jobs(read_job(*controls))
    tiles = Tiles(columns=3, tiles=[_blank_tile(one.request.degradation.label, one.request) for one in jobs])
    yield from fill_tiles(preview_copy(photo_of(session), side), tiles, jobs)


def all_six_jobs(job: Job) -> list[Job]:
    return [_changed(job, degradation, job.request.mu, job.request.sigma) for degradation in Degradation]


def _changed(job: Job, degradation: Degradation, mu: float, sigma: float) -> Job:
    request = DegradationRequest(degradation, mu, sigma, job.request.seed, job.request.caption)
    return Job(job.engine, request, job.sampling)


def _blank_tile(title: str, request: DegradationRequest) -> Tile:
    return Tile(title=title, degradation=request.degradation.value, mu=request.mu, sigma=request.sigma)


def fill_tiles(clean: Tensor, tiles: Tiles, jobs: list[Job]) -> Iterator[tuple[Any, Any]]:
    """Fill one tile after the other; the finished ones stay when the visitor cancels."""
    started = time.perf_counter()
    yield tiles, say(f"0 of {len(jobs)} pictures", 0)
    for done, (tile, job) in enumerate(zip(tiles.tiles, jobs, strict=True), start=1):
        for item in engines.run(job.engine, clean, job.request, job.sampling):
            if isinstance(item, DegradationResult):
                path = processing_utils.save_img_array_to_cache(
                    to_uint8(item.degraded), cache_dir=get_upload_folder(), format="png"
                )
                tile.image = ImageData(path=path)
                tile.note = f"obtained\n{item.mu_obtained:.3f} · {item.sigma_obtained:.3f}"
            else:
                share = (done - 1 + item.done / item.total) / len(jobs)
                yield gr.skip(), say(f"{done - 1} of {len(jobs)} pictures", share)
        left = (time.perf_counter() - started) / done * (len(jobs) - done)
        yield tiles, say(f"{done} of {len(jobs)} pictures, about {left:.0f} s left", done / len(jobs))
    seconds = time.perf_counter() - started
    yield tiles, say(f"{len(jobs)} pictures in {seconds:.1f} s. Select one to work on it.")


# ------------------------------------------------------------------------------------------ full size


class Rendered(NamedTuple):
    """A finished full-size file and what is known about it."""

    path: Path
    record: dict[str, Any]


def render_file(source: Path, folder: Path, job: Job, *, suffix: str) -> Iterator[Progress | Rendered]:
    """Degrade the photo in the file `source` at its own size and write it into `folder`.

    Bit depth, alpha, EXIF and colour profile are kept as far as the format of `suffix` can; the settings are
    stored inside the file and in its name.
    """
    photo = read(source)
    started = time.perf_counter()
    for item in engines.run(job.engine, photo.pixels, job.request, job.sampling):
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
    # The page's own copy is made by Gradio when it is yielded, so this folder can go right after.
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        started = time.perf_counter()
        for item in render_file(photo.path, Path(folder), job, suffix=suffix):
            if isinstance(item, Rendered):
                seconds = time.perf_counter() - started
                obtained = f"mu {item.record['mu_obtained']:.3f}, sigma {item.record['sigma_obtained']:.3f}"
                megabytes = item.path.stat().st_size / 1e6
                yield (
                    gr.update(value=str(item.path), interactive=True),
                    say(
                        f"File ready: {width} × {height} pixels in {seconds:.1f} s, "
                        f"obtained {obtained}, {megabytes:.1f} MB."
                    ),
                )
            else:
                text = f"Rendering {width} × {height} pixels: {item.done} of {item.total}"
                yield gr.skip(), say(text, item.done / item.total)
