"""The Explore tab: a map of degradation embeddings, the photo behind a point, own photos, overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import cancel, exploration, explore_files, explore_points
from app.explore_session import ExploreSession
from app.explore_views import COLOURS
from app.settings import SEED_TOP
from app.tabs.synthesize import QUIET
from app.widgets.photo_card import PhotoCard
from app.widgets.scatter import Scatter
from app.widgets.status_line import StatusLine, say
from gendeg_core.images import READABLE

# A map takes the whole processor, so there is one at a time. The newest request always arrives.
LANE: dict[str, Any] = {"concurrency_id": "explore", "concurrency_limit": 1, "trigger_mode": "always_last"}
LIVE: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
INTRO = (
    "Each point is a photo, placed by how DA-CLIP sees its degradation: alike ones lie close together. "
    "Click a point, drop your own photo to see where it lands, and read below how far the sets overlap."
)
SAVE_SCRIPT = """() => setTimeout(() => {
  const box = document.querySelector('#explore_file');
  const link = box && (box.matches('a, button') ? box : box.querySelector('a, button'));
  if (link) link.click();
}, 150)"""
# An upload loses the folder's name; the browser still knows it.
FOLDER_NAME = """(session, files, keep, column, perplexity, metric, seed, name) => {
  const photo = document.querySelector('#explore_data_box input[webkitdirectory]')?.files[0];
  const folder = photo ? photo.webkitRelativePath.split('/')[0] : '';
  return [session, files, keep, column, perplexity, metric, seed, name || folder];
}"""
SEED = 0


@dataclass
class Controls:
    """The left side of the tab."""

    photos: gr.File
    clear: gr.Button
    files: gr.File
    folder: gr.UploadButton
    keep: gr.Checkbox
    name: gr.Textbox
    open: gr.Button
    weights: gr.File
    add_weights: gr.Button
    column: gr.Radio
    perplexity: gr.Number
    metric: gr.Radio
    seed: gr.Number
    recompute: gr.Button
    kind: gr.Dropdown
    save: gr.Button
    file: gr.DownloadButton

    def settings(self) -> list[Any]:
        return [self.column, self.perplexity, self.metric, self.seed]


@dataclass
class Results:
    """The right side of the tab, and what lies below the map."""

    status: StatusLine
    stop: gr.Button
    colour: gr.Radio
    map: Scatter
    card: PhotoCard
    restore: gr.Button
    numbers: gr.HTML

    def page(self) -> list[Any]:
        """The components of `exploration.Page` in its order."""
        return [self.status, self.map, self.card, self.numbers]


def build(tab: gr.Tab) -> None:
    """Lay the tab out inside the open `tab` and wire it."""
    session = gr.State(ExploreSession())
    gr.Markdown(INTRO, elem_classes="hint")
    with gr.Row(elem_id="explore_bench", equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_id="explore_controls"):
            photos = _photos()
            with gr.Column(min_width=280, elem_classes="explore-rest"):
                controls = Controls(*photos, *_data(), *_weights(), *_settings(), *_saving())
        with gr.Column(scale=8, min_width=320, elem_id="explore_results"):
            results = _results()
    _wire_maps(session, tab, controls, results)
    _wire_points(session, controls, results)
    _wire_files(session, controls, results)


def _photos() -> tuple[Any, ...]:
    # On a phone it comes right below the map (style.css).
    with gr.Column(min_width=280, elem_classes="explore-photos"):
        return _photo_box()


def _photo_box() -> tuple[Any, ...]:
    photos = gr.File(
        label="Your photos: drop them, they land on the map", file_count="multiple", type="filepath",
        file_types=list(READABLE), height=160, elem_id="explore_photos",
    )  # fmt: skip
    clear = gr.Button("Take my photos off the map", size="sm", elem_id="explore_clear")
    return photos, clear


def _data() -> tuple[Any, ...]:
    with gr.Accordion("Open other data", open=False, elem_id="explore_data_box"):
        gr.Markdown(
            "Photos, GenDS shards (Parquet with images), or tables that `python -m gendeg_core embed` wrote.",
            elem_classes="hint",
        )
        files = gr.File(
            label="Photos or Parquet files", file_count="multiple", type="filepath", height=160,
            file_types=[*READABLE, ".parquet"], elem_id="explore_files",
        )  # fmt: skip
        keep = gr.Checkbox(
            False, label="Beside what is on the map", elem_id="explore_keep",
            info="Both have to be embedded with the same weights.",
        )  # fmt: skip
        name = gr.Textbox(
            label="Name of the set", info="Of photos and shards; empty: that of the folder or the shards.",
            placeholder="own photos", max_length=60, elem_id="explore_name",
        )  # fmt: skip
        go = gr.Button("Make the map", variant="primary", elem_id="explore_open")
        folder = gr.UploadButton(
            "Make it of a folder of photos", file_count="directory", type="filepath", elem_id="explore_folder"
        )
    return files, folder, keep, name, go


def _weights() -> tuple[Any, ...]:
    with gr.Accordion("Your own DA-CLIP weights", open=False, elem_id="explore_weights_box"):
        gr.Markdown(
            "A published checkpoint, or `config.json` together with `model.safetensors`. Large ones need no "
            "upload when the app is started with `--daclip PATH`. Files are opened without running any code "
            "in them.",
            elem_classes="hint",
        )
        weights = gr.File(
            label="Weights", file_count="multiple", type="filepath", height=120,
            file_types=[".pt", ".pth", ".safetensors", ".json"], elem_id="explore_weights",
        )  # fmt: skip
        add = gr.Button("Embed with these", elem_id="explore_add_weights")
    return weights, add


def _settings() -> tuple[Any, ...]:
    with gr.Accordion("How the map is made", open=False, elem_id="explore_settings_box"):
        column = gr.Radio(
            [("degradation", "degradation"), ("content", "content")], value="degradation",
            label="Embedding", elem_id="explore_column",
        )  # fmt: skip
        metric = gr.Radio(
            [("angle", "cosine"), ("distance", "euclidean")], value="cosine", label="Neighbours by",
            elem_id="explore_metric",
        )  # fmt: skip
        with gr.Row():
            perplexity = gr.Number(
                0, label="perplexity", info="0: 30, fewer for few photos.", minimum=0, maximum=500,
                min_width=120, elem_id="explore_perplexity",
            )  # fmt: skip
            seed = gr.Number(
                SEED, precision=0, minimum=0, maximum=min(SEED_TOP, 2**32 - 1), label="seed",
                info="Same seed, same map.", min_width=120, elem_id="explore_seed",
            )  # fmt: skip
        go = gr.Button("Compute the map anew", elem_id="explore_recompute")
    return column, perplexity, metric, seed, go


def _saving() -> tuple[Any, ...]:
    with gr.Accordion("Save", open=False, elem_id="explore_save_box"):
        kind = gr.Dropdown(
            [(title, name) for name, title in explore_files.KINDS.items()], value="png", label="What",
            elem_id="explore_kind",
        )  # fmt: skip
        save = gr.Button("Save", elem_id="explore_save")
        file = gr.DownloadButton("Save the file again", elem_id="explore_file", interactive=False, size="sm")
    return kind, save, file


def _results() -> Results:
    with gr.Row(elem_classes="boxed bar", equal_height=True):
        status = StatusLine(say("No map yet."), elem_id="explore_status", scale=1, min_width=180)
        stop = gr.Button("Stop", elem_id="explore_stop", size="sm", scale=0, min_width=84)
    colour = gr.Radio(
        [(title, name) for name, title in COLOURS.items()], value="degradation", label="Colour",
        elem_id="explore_colour",
    )  # fmt: skip
    chart = Scatter(elem_id="explore_map", min_width=320)
    with gr.Column(elem_classes="boxed", elem_id="explore_card_box"):
        card = PhotoCard(elem_id="explore_card", min_width=280)
        restore = gr.Button(
            "Restore this photo", size="sm", interactive=False, elem_id="explore_restore", scale=0
        )
    numbers = gr.HTML(elem_id="explore_numbers")
    return Results(status, stop, colour, chart, card, restore, numbers)


def _wire_maps(session: gr.State, tab: gr.Tab, controls: Controls, results: Results) -> None:
    page = results.page()
    shipped = tab.select(exploration.open_shipped, session, page, **QUIET, **LANE)
    made = []
    for event, files in ((controls.open.click, controls.files), (controls.folder.upload, controls.folder)):
        armed = event(cancel.arm, session, results.status, queue=False, **QUIET)
        asked = [session, files, controls.keep, *controls.settings(), controls.name]
        script = FOLDER_NAME if files is controls.folder else None
        made.append(armed.then(exploration.open_data, asked, page, js=script, **QUIET, **LANE))
    armed = controls.recompute.click(cancel.arm, session, results.status, queue=False, **QUIET)
    made.append(armed.then(exploration.recompute, [session, *controls.settings()], page, **QUIET, **LANE))
    for event in (shipped, *made):
        event.success(exploration.measure, session, page, **QUIET, **LANE)
    results.stop.click(cancel.cancel, session, None, queue=False, **QUIET)


def _wire_points(session: gr.State, controls: Controls, results: Results) -> None:
    results.colour.input(explore_points.recolour, [session, results.colour], results.map, **LIVE)
    results.map.select(explore_points.show_point, session, [results.card, results.restore], **LIVE)
    results.card.select(explore_points.show_neighbour, session, [results.map, results.card], **LIVE)
    landed = [controls.photos, results.status, results.map, results.card]
    controls.photos.upload(
        explore_points.add_photos, [session, controls.photos], landed, **QUIET, **LANE
    ).success(lambda: gr.update(interactive=True), None, results.restore, queue=False, **QUIET)
    controls.clear.click(
        explore_points.clear_photos, session, [results.status, results.map, results.card], **LIVE
    )
    results.restore.click(cancel.arm, session, results.status, queue=False, **QUIET).then(
        explore_files.restore_selected, session, [results.status, results.card], **QUIET,
        concurrency_id="restore", concurrency_limit=1, trigger_mode="always_last",
    )  # fmt: skip


def _wire_files(session: gr.State, controls: Controls, results: Results) -> None:
    controls.add_weights.click(
        explore_files.add_weights, [session, controls.weights], [controls.weights, results.status], **LIVE
    )
    saved = controls.save.click(
        explore_files.save, [session, controls.kind], [controls.file, results.status], **LIVE
    )
    saved.success(None, None, None, js=SAVE_SCRIPT, api_visibility="private")
