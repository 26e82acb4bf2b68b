"""The named endpoints of the Explore tab: /embed, /project and /place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app import embedders, exploration
from app.explore_files import write_file
from app.explore_opening import open_files
from app.explore_points import check_weights
from app.explore_session import ExploreSession, ShownMap, joined_sources
from app.explore_sources import MOST_POINTS, Source
from app.explore_views import NEIGHBOURS
from app.map_cache import cache_folder
from app.refusals import in_sentences
from app.session import read
from gendeg_core.embed.joining import join_tables
from gendeg_core.embed.projection import project as frames_of
from gendeg_core.embed.table import write_table


@in_sentences
def embed(files: list[str] | None) -> Iterator[tuple[str | None, list[dict[str, Any]]]]:
    """Embed photos, or the degraded images of GenDS shards, with DA-CLIP.

    Args:
        files: photos, or Parquet shards with images inside. More than 2000 photos, or a data set of more than
            2000 accepted pairs, are refused. Rejected pairs are left out.

    Returns:
        A Parquet table with the columns path, content, degradation, predicted and score (shards add mu,
        sigma, label, caption, the clean photo and what was asked for), and one record per photo or accepted
        pair: photo, predicted, score. Until the end there is only a record with done and total.
    """
    sources: list[Source] = []
    for item in open_files(_paths(files), whole=True):
        if isinstance(item, list):
            sources = item
        else:
            yield None, [{"done": item.done, "total": item.total}]
    table = join_tables([one.table for one in sources], [one.name for one in sources]).table
    records = [
        {"photo": path, "predicted": predicted, "score": score}  # a client takes "path" for a file
        for path, predicted, score in zip(table.path, table.predicted, table.score.tolist(), strict=True)
    ]
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        path = Path(folder) / "embeddings.parquet"
        write_table(table, path)
        yield str(path), records


@in_sentences
def project(
    tables: list[str] | None,
    column: str = "degradation",
    perplexity: float | None = None,
    metric: str = "cosine",
    seed: int = 0,
) -> Iterator[tuple[str | None, str | None, dict[str, Any]]]:
    """Make a t-SNE map of tables of embeddings, and measure how far their sets overlap.

    Args:
        tables: Parquet files from `/embed` or `python -m gendeg_core embed`, all of the same weights, with at
            most 10,000 rows together; more are refused.
        column: degradation or content: which embedding is mapped.
        perplexity: neighbours a point listens to; leave out or give 0 for 30, or what few photos allow.
        metric: cosine or euclidean.
        seed: same seed, same map.

    Returns:
        The coordinates of every row as Parquet, a figure as PNG, and a record: photos, weights, overlaps of
        every two sets with bootstrap intervals, read-outs of degradation and mu, remarks. Until the end there
        is only a record with done and total.
    """
    from gendeg_core.embed.numbers import numbers_of, record_of

    settings, chosen = (
        exploration.read_map_settings(perplexity, metric, seed),
        exploration.read_column(column),
    )
    *_, opened = open_files(_paths(tables), whole=True)
    assert isinstance(opened, list), "the sources come last"
    if (given := sum(source.total for source in opened)) > MOST_POINTS:
        raise ValueError(
            f"{given} rows are more than the {MOST_POINTS} that are mapped here; give fewer, or use "
            "python -m gendeg_core project on your own machine"
        )
    kept, joined = joined_sources(opened)
    embeddings = getattr(joined.table, chosen)
    exploration.check_sets(joined)
    frame = None
    for frame in frames_of(embeddings, settings, cache=cache_folder()):
        yield None, None, {"done": frame.done, "total": frame.total}
    assert frame is not None, "every map has a frame"
    shown = ShownMap(kept, joined, chosen, settings, frame.points, "", (frame.done, frame.total))
    numbers = numbers_of(joined, embeddings, seed=settings.seed)
    record = record_of(joined, numbers)
    colour = "set" if len(set(joined.sets)) > 1 else "degradation"
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        paths = [write_file(shown, kind, colour, Path(folder)) for kind in ("coordinates", "png")]
        yield str(paths[0]), str(paths[1]), record


@in_sentences
def place(photo: str | None) -> dict[str, Any]:
    """Find the place of a photo on the map that the Explore tab opens with.

    Args:
        photo: the photo; 8 or 16 bit, any common format.

    Returns:
        A record: x and y on the map, the most likely degradation (predicted) with its score, the scores of
        all six, the weights, and the nearest photos of the map.
    """
    session = ExploreSession()
    exploration.show_shipped(session)
    shown = session.map()
    check_weights(shown, None)
    (path,) = _paths([photo] if photo else None)
    seen = embedders.look(read(path).pixels)
    ((x, y),) = shown.place(np.stack([seen.degradation])).tolist()
    table, kinds = shown.joined.table, shown.joined.kinds
    neighbours = [
        {"photo": table.path[row], "degradation": kinds[row], "set": shown.joined.sets[row], "cosine": cosine}
        for row, cosine in shown.nearest(seen.degradation, NEIGHBOURS)
    ]
    return {
        "x": x, "y": y, "predicted": seen.predicted, "score": seen.score, "scores": seen.scores,
        "weights": seen.weights, "neighbours": neighbours,
    }  # fmt: skip


def _paths(files: list[str] | None) -> list[Path]:
    if not files:
        raise ValueError("no file was given; pass one or more as the first argument")
    return [Path(file) for file in files]
