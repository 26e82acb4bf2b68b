"""What the Explore tab hands out and takes in as files: figure, coordinates, embeddings; own weights."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app import embedders, restorers
from app.cancel import CancelledError, stoppable
from app.explore_session import ExploreSession, ShownMap
from app.explore_views import COLOURS, LARGE, colour_values, inline, photo_card, star_card
from app.refusals import expected, in_sentences, refusal, sentence
from app.session import small_copy
from app.widgets.status_line import say
from gendeg_core.statistics import to_uint8
from gendeg_core.types import Progress

KINDS = {
    "png": "figure, PNG",
    "pdf": "figure, PDF",
    "svg": "figure, SVG",
    "coordinates": "coordinates, Parquet",
    "embeddings": "embeddings, Parquet",
}
RESTORE_SIDE = 512  # short side in pixels at which a photo of the map is restored


@in_sentences
def save(session: ExploreSession, kind: str) -> Iterator[tuple[Any, Any]]:
    """Write the map as one kind of file; yields (file for the download button, status)."""
    shown = session.map()
    with tempfile.TemporaryDirectory(prefix="gendeg-") as folder:
        path = write_file(shown, kind, session.colour, Path(folder))
        text = f"{path.name} is ready, {path.stat().st_size / 1e6:.2f} MB."
        yield gr.update(value=str(path), interactive=True), say(text)


def write_file(shown: ShownMap, kind: str, colour: str, folder: Path) -> Path:
    """The map in `folder` as one of `KINDS`.

    Raises:
        ValueError: an unknown kind.
    """
    from gendeg_core.embed.figures import map_figure
    from gendeg_core.embed.joining import write_map
    from gendeg_core.embed.table import write_table

    if kind not in KINDS:
        raise ValueError(f"unknown kind of file {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "coordinates":
        path = folder / "map.parquet"
        write_map(path, shown.joined, shown.points, column=shown.column, settings=shown.settings)
    elif kind == "embeddings":
        path = folder / "embeddings.parquet"
        write_table(shown.joined.table, path)
    else:
        path = folder / f"map_{colour}.{kind}"
        several = len(set(shown.joined.sets)) > 1 and colour != "set"
        values = colour_values(shown, colour)
        path.write_bytes(
            map_figure(
                shown.points, values, colour_label=COLOURS[colour],
                shapes=shown.joined.sets if several else None, file_format=kind,
            )
        )  # fmt: skip
    return path


@in_sentences
def add_weights(session: ExploreSession, files: list[str] | None) -> tuple[Any, Any]:
    """A visitor's DA-CLIP, one checkpoint or `config.json` with `model.safetensors`, embeds from now on."""
    if not files:
        raise ValueError("No weights were chosen; drop the files first.")
    own = files[0]
    if len(files) > 1:
        # called as the shipped weights are: the folder's name is part of the identity of weights
        folder = Path(tempfile.mkdtemp(prefix="weights-", dir=session.folder())) / "daclip"
        folder.mkdir()
        for file in files:
            shutil.copyfile(file, folder / Path(file).name)
        own = str(folder)
    embedder = embedders.get_embedder(own)
    session.own = own
    return None, say(f"Photos are embedded with {embedder.weights} from now on.")


def restore_selected(session: ExploreSession) -> Iterator[tuple[Any, Any]]:
    """Restore the photo on the card with an installed network; yields (status, card)."""
    wanted = session.armed
    try:
        picture, card = _selected(session)
        choices = restorers.shipped_choices()
        if not choices:
            raise ValueError(restorers.NONE_SHIPPED)
        choice = next((one for one in choices if one.weights == "gends"), choices[0])
        steps = restorers.run(choice.model, choice.weights, small_copy(picture, RESTORE_SIDE))
        for item in stoppable(session, wanted, steps):
            if isinstance(item, Progress):
                yield (
                    say(f"{choice.title}: {item.done} of {item.total} tiles", item.done / item.total),
                    gr.skip(),
                )
                continue
            from PIL import Image

            restored = Image.fromarray(to_uint8(item.image))
            shown = [one for one in card["pictures"] if not one["title"].startswith("restored")]
            title = f"restored by {choice.title}"
            card["pictures"] = [*shown, {"title": title, "src": inline(restored, LARGE)}]
            yield say(f"Restored by {choice.title}."), card
    except CancelledError:
        yield say("Cancelled."), gr.skip()
    except Exception as error:
        if not expected(error):
            raise
        yield say(sentence(error)), gr.skip()
        raise refusal(error) from error


def _selected(session: ExploreSession) -> tuple[Any, dict[str, Any]]:
    """The picture of the selected point or star, and its card."""
    shown = session.map()
    if session.star is not None:
        star = shown.stars[session.star]
        return star.picture, star_card(shown, star)
    if session.selected is None:
        raise ValueError("No photo is selected; click a point of the map first.")
    picture = shown.pictures(session.selected, whole=True).picture
    if picture is None:
        raise ValueError("The map has no picture of this photo, so there is nothing to restore.")
    return picture, photo_card(shown, session.selected)
