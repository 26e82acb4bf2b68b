"""What the Explore tab shows of a map: points in colours, the card of one photo, the numbers of its sets."""

from __future__ import annotations

import base64
import math
from html import escape
from typing import Any, get_args

import numpy as np
from PIL import Image

from app.explore_pictures import as_jpeg
from app.explore_session import Column, ExploreSession, ShownMap, Star
from app.explore_sources import short_name
from app.widgets.scatter import scatter_value
from gendeg_core.embed.numbers import Numbers
from gendeg_core.embed.overlap import MEANINGS

COLOURS = {
    "degradation": "degradation",
    "set": "set",
    "mu": "strength (mu)",
    "sigma": "unevenness (sigma)",
    "dataset": "data set",
}
COLUMNS: tuple[Column, ...] = get_args(Column)
NEIGHBOURS = 8
LARGE, SMALL = 420, 120  # longest side in pixels of the card's pictures, and of its neighbours
NO_PICTURE = (
    "No picture: the table only names it. Start the app with --photos FOLDER and pictures in that folder are "
    "shown."
)


def painted(session: ExploreSession, *, moving: bool = False) -> dict[str, Any]:
    """The value of the map's widget; a `moving` map goes without what is only read at rest."""
    shown = session.map()
    values = colour_values(shown, session.colour)
    return scatter_value(
        shown.points,
        values,
        colour_label=COLOURS[session.colour],
        tips=None if moving else tips(shown),
        stars=[] if moving else [(star.x, star.y, star.label) for star in shown.stars],
        selected=session.selected,
        key=shown.key,
    )


def colour_values(shown: ShownMap, colour: str) -> Any:
    """A name or number per point.

    Raises:
        ValueError: an unknown colouring.
    """
    if colour not in COLOURS:
        raise ValueError(f"unknown colour {colour!r}; choose one of {', '.join(COLOURS)}")
    if colour == "degradation":
        return shown.joined.kinds
    values = getattr(shown.joined.table, colour)
    return np.asarray(values, dtype=np.float64) if colour in ("mu", "sigma") else list(values)


def tips(shown: ShownMap) -> list[str]:
    mu = np.asarray(shown.joined.table.mu)
    names = [short_name(path) for path in shown.joined.table.path]
    return [
        f"{name}, mu {value:.2f}" if math.isfinite(value) else name
        for name, value in zip(names, mu.tolist(), strict=True)
    ]


def photo_card(shown: ShownMap, row: int) -> dict[str, Any]:
    """Picture, partners, record and neighbours of a point."""
    trio = shown.pictures(row, whole=True)
    titles = ("photo", "clean", "restored")
    return {
        "title": short_name(shown.joined.table.path[row]),
        "pictures": [
            {"title": title, "src": inline(picture, LARGE)}
            for title, picture in zip(titles, trio, strict=True)
            if picture is not None
        ],
        "missing": "" if trio.picture else NO_PICTURE,
        "rows": record_of(shown, row),
        "neighbours": _neighbours(shown, shown.embeddings[row], row),
    }


def star_card(shown: ShownMap, star: Star) -> dict[str, Any]:
    """The same of a photo that the visitor added, with the probability of every degradation."""
    scores = [[kind.replace("_", " "), f"{score:.2f}"] for kind, score in star.seen.scores.items()]
    return {
        "title": star.name,
        "pictures": [{"title": "your photo", "src": inline(star.picture, LARGE)}],
        "missing": "",
        "rows": [["most likely", star.seen.predicted.replace("_", " ")], *scores],
        "neighbours": _neighbours(shown, star.embedding(shown.column), -1),
    }


def record_of(shown: ShownMap, row: int) -> list[list[str]]:
    """Names and values of what is known of a point."""
    table = shown.joined.table
    label = (table.label or [])[row] or "unknown"
    rows = [
        ["degradation", label.replace("_", " ")],
        ["predicted", f"{table.predicted[row].replace('_', ' ')}, {float(table.score[row]):.2f}"],
    ]
    for name in ("mu", "sigma"):
        values = {"asked": getattr(table, f"{name}_asked"), "obtained": getattr(table, name)}
        parts = [f"{word} {column[row]:.3f}" for word, column in values.items() if math.isfinite(column[row])]
        if parts:
            rows.append([name, ", ".join(parts)])
    columns = {"engine": table.engine, "caption": table.caption, "set": table.set, "data set": table.dataset}
    texts = [[name, values[row]] for name, values in columns.items() if values and values[row]]
    seed = int(np.asarray(table.seed)[row])
    return rows + ([["seed", str(seed)]] if seed >= 0 else []) + texts


def _neighbours(shown: ShownMap, embedding: Any, row: int) -> list[dict[str, Any]]:
    found = []
    kinds = shown.joined.kinds
    for other, cosine in shown.nearest(embedding, NEIGHBOURS, row):
        picture = shown.pictures(other, whole=False).picture
        found.append(
            {
                "index": other,
                "title": kinds[other].replace("_", " "),
                "note": f"{shown.joined.sets[other]}, cosine {cosine:.2f}",
                "src": inline(picture, SMALL) if picture else "",
            }
        )
    return found


def inline(picture: Image.Image, side: int) -> str:
    """A picture inside the page: a JPEG with a longest side of at most `side` pixels."""
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(small)).decode()}"


def numbers_table(numbers: Numbers) -> str:
    """HTML: overlap of every two sets with its bootstrap interval, probes, and what was not measured."""
    lines = []
    if kinds := numbers.kinds:
        lines.append(
            f"A linear read-out names the degradation of {kinds.accuracy:.0%} of {kinds.held_out} held-out "
            "photos."
        )
    if mu := numbers.mu:
        lines.append(
            f"A linear read-out of mu: R² {mu.r2:.2f}, rank correlation {mu.spearman:.2f} on {mu.held_out} "
            "held-out photos."
        )
    lines += [f"{remark[0].upper()}{remark[1:]}." for remark in numbers.remarks]
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in lines)
    if not numbers.overlaps:
        return f'<div class="numbers">{paragraphs or "<p>One set: there is no overlap to measure.</p>"}</div>'
    heads = "".join(f"<th>{escape(first)}<br>and {escape(second)}</th>" for first, second in numbers.overlaps)
    rows = "".join(
        f"<tr><th>{escape(meaning.label)}</th>"
        + "".join(f"<td>{_interval(getattr(one, name))}</td>" for one in numbers.overlaps.values())
        + f"<td>{meaning.same}</td><td>{meaning.apart}</td></tr>"
        for name, meaning in MEANINGS.items()
    )
    head = f"<tr><th>overlap, with 95 % interval</th>{heads}<th>if the same</th><th>if apart</th></tr>"
    return (
        f'<div class="numbers"><div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table>'
        f"</div>{paragraphs}</div>"
    )


def _interval(measured: Any) -> str:
    return f"{measured.value:.3f}<br><small>{measured.low:.3f} to {measured.high:.3f}</small>"
