"""What the Explore tab does with points: show what one is, colour them, put a visitor's photos among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from app import embedders
from app.explore_session import ExploreSession, ShownMap, Star
from app.explore_views import colour_values, painted, photo_card, star_card
from app.refusals import expected, in_sentences, refusal, sentence
from app.session import read, small_copy
from app.widgets.scatter import picked
from app.widgets.status_line import say
from gendeg_core.statistics import to_uint8

MOST_STARS = 24
STAR_SIDE = 420


@in_sentences
def show_point(session: ExploreSession, event: gr.EventData) -> tuple[Any, Any]:
    """A point or star of the map was chosen: yields the card and whether it can be restored."""
    shown = session.map()
    index, star = picked(event, len(shown), len(shown.stars))
    session.selected, session.star = (None, index) if star else (index, None)
    return card_of(session), gr.update(interactive=True)


@in_sentences
def show_neighbour(session: ExploreSession, event: gr.EventData) -> tuple[Any, Any]:
    """A neighbour on the card was clicked: it is selected on the map as well."""
    index, _ = picked(event, len(session.map()))
    session.selected, session.star = index, None
    return painted(session), card_of(session)


def card_of(session: ExploreSession) -> Any:
    """The card of the selected point or star; None without one."""
    shown = session.map()
    if session.star is not None and session.star < len(shown.stars):
        return star_card(shown, shown.stars[session.star])
    return photo_card(shown, session.selected) if session.selected is not None else None


@in_sentences
def recolour(session: ExploreSession, colour: str) -> Any:
    """Colour the points by something else."""
    if session.shown is None:
        session.colour = colour
        return gr.skip()
    colour_values(session.shown, colour)
    session.colour = colour
    return painted(session)


def add_photos(session: ExploreSession, files: Sequence[str] | None) -> Iterator[tuple[Any, ...]]:
    """Own photos land on the map; yields (the emptied photo box, status, map, card)."""
    try:
        shown = session.map()
        paths = [Path(file) for file in files or []]
        if not paths:
            raise ValueError("Nothing was chosen; drop a photo first.")
        if len(shown.stars) + len(paths) > MOST_STARS:
            raise ValueError(
                f"More than {MOST_STARS} own photos are too many to tell apart; open them as data instead."
            )
        check_weights(shown, session.own)
        seen = []
        for done, path in enumerate(paths):
            yield gr.skip(), say(f"Embedding {path.name}", done / len(paths)), gr.skip(), gr.skip()
            pixels = read(path).pixels
            small = Image.fromarray(to_uint8(small_copy(Image.fromarray(to_uint8(pixels)), STAR_SIDE)))
            seen.append((path.name, small, embedders.look(pixels, session.own)))
        places = shown.place(np.stack([getattr(one, shown.column) for _, _, one in seen])).tolist()
        shown.stars += [
            Star(name, small, one, x, y) for (name, small, one), (x, y) in zip(seen, places, strict=True)
        ]
        session.selected, session.star = None, len(shown.stars) - 1
        told = "; ".join(
            f"{name} is most likely {one.predicted.replace('_', ' ')} ({one.score:.2f})"
            for name, _, one in seen
        )
        yield None, say(f"{told}."), painted(session), card_of(session)
    except Exception as error:
        if not expected(error):
            raise
        yield None, say(sentence(error)), gr.skip(), gr.skip()
        raise refusal(error) from error


def check_weights(shown: ShownMap, own: str | None) -> None:
    """Refuse photos that would be embedded with other weights than the map was."""
    here, there = embedders.get_embedder(own).weights, shown.joined.table.weights
    if here != there:
        raise ValueError(
            f"The map was embedded with {there or 'unnamed weights'}, photos here are with {here}; add the "
            "map's weights, or open data that is embedded here."
        )


@in_sentences
def clear_photos(session: ExploreSession) -> tuple[Any, Any, Any]:
    """Take the visitor's photos off the map; returns (status, map, card)."""
    shown = session.map()
    shown.stars.clear()
    session.star = None
    return say("Your photos are off the map."), painted(session), card_of(session)
