"""Many small pictures of one photo: the sweep over mu and sigma, and all six degradations at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from gradio import processing_utils
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder

from app import engines
from app.cancel import CancelledError, until_cancelled
from app.refusals import in_sentences
from app.session import Session, photo_of, preview_copy
from app.settings import Job, read_job
from app.widgets.status_line import say
from app.widgets.tile_grid import Tile, Tiles
from gendeg_core.statistics import BINS, MU_EDGES, SIGMA_EDGES, published_histogram, to_uint8
from gendeg_core.types import Degradation, DegradationRequest, DegradationResult

if TYPE_CHECKING:
    from torch import Tensor

SWEEP_COLUMNS, SWEEP_ROWS = 5, 4


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
    yield from fill_tiles(session, preview_copy(photo_of(session), side), tiles, jobs)


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
    yield from fill_tiles(session, preview_copy(photo_of(session), side), tiles, jobs)


def all_six_jobs(job: Job) -> list[Job]:
    return [_changed(job, degradation, job.request.mu, job.request.sigma) for degradation in Degradation]


def _changed(job: Job, degradation: Degradation, mu: float, sigma: float) -> Job:
    request = DegradationRequest(degradation, mu, sigma, job.request.seed, job.request.caption)
    return Job(job.engine, request, job.sampling)


def _blank_tile(title: str, request: DegradationRequest) -> Tile:
    return Tile(title=title, degradation=request.degradation.value, mu=request.mu, sigma=request.sigma)


def fill_tiles(session: Session, clean: Tensor, tiles: Tiles, jobs: list[Job]) -> Iterator[tuple[Any, Any]]:
    """Fill one tile after the other; the finished ones stay when the visitor cancels."""
    try:
        yield from _fill_tiles(until_cancelled(session, session.armed), clean, tiles, jobs)
    except CancelledError:
        done = sum(tile.image is not None for tile in tiles.tiles)
        yield tiles, say(f"Cancelled after {done} of {len(jobs)} pictures; those that are finished stay.")


def _fill_tiles(run: engines.Run, clean: Tensor, tiles: Tiles, jobs: list[Job]) -> Iterator[tuple[Any, Any]]:
    started = time.perf_counter()
    yield tiles, say(f"0 of {len(jobs)} pictures", 0)
    for done, (tile, job) in enumerate(zip(tiles.tiles, jobs, strict=True), start=1):
        for item in run(clean, job):
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
