"""What the Explore tab does with maps: open one, compute it anew, measure its sets.

Everything is computed by the core; these functions parse, call and format. A map grows before the visitor's
eyes: `project` yields its frames, and a cancel ends it between two of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import gradio as gr
import numpy as np

from app import embedders
from app.cancel import CancelledError, stoppable
from app.explore_opening import open_files
from app.explore_points import card_of
from app.explore_session import Column, ExploreSession, ShownMap, Star, joined_sources
from app.explore_sources import Source, shipped_source
from app.explore_views import COLUMNS, numbers_table, painted
from app.map_cache import cache_folder
from app.refusals import expected, refusal, sentence
from app.settings import number, whole_number
from app.widgets.status_line import say
from gendeg_core.embed.overlap import FEWEST
from gendeg_core.embed.projection import Frame, MapSettings, project
from gendeg_core.embed.reduction import Metric

if TYPE_CHECKING:
    from gendeg_core.embed.joining import JoinedTable

PAUSE = 0.4  # seconds between two frames that are sent to the browser
MOST_SETS = 5  # overlap is measured of every two of them


class Page(NamedTuple):
    """One repaint of the result side of the tab; parts that are not given stay as they are."""

    status: Any = gr.skip()
    map: Any = gr.skip()
    card: Any = gr.skip()
    numbers: Any = gr.skip()


def open_shipped(session: ExploreSession) -> Iterator[Page]:
    """The map that comes with the project, when the tab is opened for the first time."""
    if session.shown is not None:
        yield Page()
        return
    try:
        yield show_shipped(session)
    except (ValueError, OSError) as error:  # a page without it is still of use
        missing = "" if embedders.installed() else f" {embedders.NONE_INSTALLED}"
        yield Page(status=say(f"{sentence(error)}{missing}"))


def open_data(
    session: ExploreSession,
    files: Sequence[str] | None,
    keep: bool,
    column: str,
    perplexity: float | None,
    metric: str,
    seed: float,
    name: str = "",
) -> Iterator[Page]:
    """A map of tables, shards or photos; with `keep`, of what is on the map as well.

    `name` is that of the sets that are embedded here; empty for the usual one.
    """
    wanted = session.armed
    try:
        settings = read_map_settings(perplexity, metric, seed)
        chosen = read_column(column)
        before = session.shown.sources if keep and session.shown else ()
        taken = {one for source in before for one in source.sets}
        sources: list[Source] = []
        paths = [Path(file) for file in files or []]
        opening = open_files(paths, session.own, name=name.strip(), taken=taken)
        for item in stoppable(session, wanted, opening):
            if isinstance(item, list):
                sources = item
            else:
                share = item.done / item.total
                yield Page(status=say(f"Embedding: {item.done} of {item.total} pictures", share))
        if not before:
            session.selected = session.star = None
        yield from _mapped(session, [*before, *sources], chosen, settings, wanted)
    except CancelledError:
        yield Page(status=say("Cancelled: the map stays as it was."))
    except Exception as error:
        if not expected(error):
            raise
        yield Page(status=say(sentence(error)))
        raise refusal(error) from error


def recompute(
    session: ExploreSession, column: str, perplexity: float | None, metric: str, seed: float
) -> Iterator[Page]:
    """The same photos with other settings."""
    wanted = session.armed
    try:
        settings = read_map_settings(perplexity, metric, seed)
        yield from _mapped(session, session.map().sources, read_column(column), settings, wanted)
    except CancelledError:
        yield Page(status=say("Cancelled: the map stays as it was."))
    except Exception as error:
        if not expected(error):
            raise
        yield Page(status=say(sentence(error)))
        raise refusal(error) from error


def _mapped(
    session: ExploreSession, sources: Sequence[Source], column: Column, settings: MapSettings, wanted: int
) -> Iterator[Page]:
    """Frame after frame of a new map; one that is stopped stays as far as it got."""
    kept, joined = joined_sources(sources)
    settings.perplexity_for(len(joined.table))
    stars = session.shown.stars if session.shown else []
    yield Page(status=say(f"Comparing {len(joined.table)} photos", 0))
    shown: ShownMap | None = None
    painted_at = 0.0
    stopped = False
    frames = stoppable(session, wanted, _frames(getattr(joined.table, column), settings))
    with closing(frames):
        try:
            for frame in frames:
                if shown is None:
                    key = session.next_key()
                    shown = ShownMap(kept, joined, column, settings, frame.points, key, (0, frame.total))
                    session.shown = shown
                shown.points, shown.iterations = frame.points, (frame.done, frame.total)
                if time.monotonic() - painted_at > PAUSE:
                    text = f"{frame.done} of {frame.total} iterations"
                    yield Page(say(text, frame.done / frame.total), painted(session, moving=True), numbers="")
                    painted_at = time.monotonic()
        except CancelledError:
            if shown is None:
                raise
            stopped = True
    assert shown is not None, "every map has a frame"
    _put_back(shown, stars)
    text = _described(shown)
    if stopped:
        text = f"Stopped after {shown.iterations[0]} of {shown.iterations[1]} iterations. {text}"
    yield Page(say(text), painted(session), card_of(session))


def _frames(embeddings: Any, settings: MapSettings) -> Iterator[Frame]:
    """`project` as a generator also where the map is known and arrives as one frame."""
    yield from project(embeddings, settings, cache=cache_folder())


def show_shipped(session: ExploreSession) -> Page:
    """The map that comes with the project, coordinates and all.

    Raises:
        ValueError: none is installed.
    """
    kept, joined = joined_sources([shipped_source()])
    points = kept[0].points
    if points is None:
        raise ValueError("The installed map holds no coordinates; make it with python -m app.shipped_map.")
    key = session.next_key()
    session.shown = ShownMap(kept, joined, "degradation", MapSettings(), points, key, (1, 1))
    session.selected = session.star = None
    return Page(say(_described(session.shown)), painted(session), None)


def _put_back(shown: ShownMap, stars: Sequence[Star]) -> None:
    """The visitor's photos find their places on a new map; those of other weights have none."""
    fitting = [star for star in stars if star.seen.weights == shown.joined.table.weights]
    if fitting:
        places = shown.place(np.stack([star.embedding(shown.column) for star in fitting]))
        for star, (x, y) in zip(fitting, places.tolist(), strict=True):
            shown.stars.append(Star(star.name, star.picture, star.seen, x, y))


def _described(shown: ShownMap) -> str:
    sets = list(dict.fromkeys(shown.joined.sets))
    named = f"{len(sets)} sets" if len(sets) > 1 else f"one set, {sets[0]}"
    thinned = [source for source in shown.sources if len(source.table) < source.total]
    count = f"{len(shown)} of {sum(source.total for source in shown.sources)}" if thinned else len(shown)
    parts = [f" Of {one.name} {len(one.table)} of {one.total} are shown." for one in thinned]
    weights = shown.joined.table.weights or "unnamed weights"
    return f"{count} photos, {named}; embedded with {weights}.{''.join(parts)}"


def measure(session: ExploreSession) -> Iterator[Page]:
    """The numbers of the map's sets; chained after a map, so it takes its time."""
    from gendeg_core.embed.numbers import numbers_of

    shown = session.shown
    if shown is None:
        yield Page()
        return
    if shown.numbers is None:
        try:
            check_sets(shown.joined)
        except ValueError as error:
            yield Page(numbers=f'<div class="numbers"><p>{sentence(error)}</p></div>')
            return
        yield Page(numbers='<div class="numbers"><p>Measuring the overlap of the sets …</p></div>')
        shown.numbers = numbers_of(shown.joined, shown.embeddings, seed=shown.settings.seed)
    yield Page(numbers=numbers_table(shown.numbers))


def check_sets(joined: JoinedTable) -> None:
    """Refuse to measure the overlap of so many sets that it would take minutes."""
    large = sum(count >= FEWEST for count in Counter(joined.sets).values())
    if large > MOST_SETS:
        raise ValueError(
            f"There are {large} sets; here overlap is measured for up to {MOST_SETS}. Use python -m "
            "gendeg_core project on your own machine."
        )


def read_map_settings(perplexity: object, metric: object, seed: object) -> MapSettings:
    """Check the controls; a perplexity of 0 or None means the usual one.

    Raises:
        ValueError: something out of its range.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(get_args(Metric))}")
    return MapSettings(
        perplexity=None if perplexity in (None, 0) else number("perplexity", perplexity),
        metric=cast("Metric", metric),
        seed=whole_number("seed", seed),
    )


def read_column(column: object) -> Column:
    if column not in COLUMNS:
        raise ValueError(f"unknown embedding {column!r}; choose one of {', '.join(COLUMNS)}")
    return cast("Column", column)
