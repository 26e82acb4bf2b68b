"""The Restore tab: a degraded photo, several networks, and what each makes of it side by side."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app import cancel, restoration, restore_gallery, restore_intake, restored_files, restorers
from app.refusals import in_sentences, sentence
from app.restore_examples import degraded_examples
from app.restore_session import RestoreSession
from app.restore_tables import cards
from app.session import Session
from app.tabs.synthesize import FORMAT_CHOICES, QUIET
from app.widgets.photo_input import PhotoInput
from app.widgets.status_line import StatusLine, say
from app.widgets.zoom_grid import Panes, ZoomGrid

# One comparison at a time: it takes the whole processor. The newest request always arrives.
LANE: dict[str, Any] = {"concurrency_id": "restore", "concurrency_limit": 1, "trigger_mode": "always_last"}
INTRO = (
    "Haze, rain, snow, blur, darkness or drops in a photo: let several networks take them away, and see "
    "which does it best. Each comes in two trainings, on existing data and on existing data with GenDS added."
)
SIDE_CHOICES = [
    ("512 px", 512),
    ("1024 px", 1024),
    ("full size", restoration.FULL),
]
SAVE_SCRIPT = """() => setTimeout(() => {
  const link = document.querySelector('a#%(id)s, #%(id)s a, button#%(id)s, #%(id)s button');
  if (link) link.click();
}, 150)"""


@dataclass
class Controls:
    """The left side of the tab."""

    photo: PhotoInput
    clean: PhotoInput
    examples: gr.Gallery
    networks: gr.CheckboxGroup
    side: gr.Radio
    go: gr.Button
    own_files: gr.File
    own_add: gr.Button
    about: gr.HTML


@dataclass
class Results:
    """The right side of the tab, and the grid and the gallery below."""

    status: StatusLine
    stop: gr.Button
    swipe: gr.ImageSlider
    left: gr.Dropdown
    right: gr.Dropdown
    numbers: gr.HTML
    wanted: gr.Dropdown
    suffix: gr.Dropdown
    render: gr.Button
    file: gr.DownloadButton
    grid: ZoomGrid

    def page(self) -> list[Any]:
        """The components of `restoration.Page` in its order."""
        return [
            *(self.status, self.swipe, self.left, self.right),
            *(self.numbers, self.grid, self.wanted, self.file),
        ]


@dataclass
class Gallery:
    """The comparisons kept, and what saves them."""

    add: gr.Button
    drop: gr.Button
    clear: gr.Button
    picture: gr.Image
    form: gr.Dropdown
    save: gr.Button
    file: gr.DownloadButton


def build(demo: gr.Blocks, tab: gr.Tab, tabs: gr.Tabs, send: gr.Button, synthesized: gr.State) -> None:
    """Lay the tab out inside the open `tab` and wire it; `send` is the button of the Synthesize tab."""
    session = gr.State(RestoreSession())
    gr.Markdown(INTRO, elem_classes="hint")
    with gr.Row(elem_id="restore_bench", equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_id="restore_controls"):
            controls = _controls()
        with gr.Column(scale=7, min_width=320, elem_id="restore_results"):
            shown = _results()
    with gr.Column(elem_classes="boxed"):
        gr.Markdown("All versions under one zoom", elem_classes="section-title")
        grid = ZoomGrid(Panes(), elem_id="restore_grid", min_width=320)
    results = Results(**shown, grid=grid)
    gallery = _gallery()
    _wire_photos(session, controls, results)
    _wire_comparison(session, controls, results)
    _wire_own(session, controls, results)
    _wire_gallery(session, results, gallery)
    _wire_send(session, controls, results, tabs, send, synthesized)
    tab.select(_fill_examples, None, controls.examples, **QUIET)
    demo.load(_offer, session, [controls.networks, controls.about, results.status], **QUIET)


def _controls() -> Controls:
    # Two groups: on a phone the results come between them (style.css).
    with gr.Column(min_width=320, elem_classes="restore-main"):
        photo = PhotoInput(
            label="A degraded photo: drop, paste or choose", elem_id="restore_photo", height=220
        )
        with gr.Accordion("I have the clean version, too", open=False, elem_id="restore_clean_box"):
            gr.Markdown(
                "The same photo without the degradation, pixel for pixel: every network is then measured "
                "against it.",
                elem_classes="hint",
            )
            clean = PhotoInput(label="Clean version", elem_id="restore_clean", height=160)
        examples = gr.Gallery(
            label="Or a simulated one, clean photo known", columns=3, height="auto", allow_preview=False,
            interactive=False, buttons=[], elem_id="restore_examples", format="jpeg",
        )  # fmt: skip
        networks = gr.CheckboxGroup(
            [], label=f"Networks to compare, up to {restorers.MOST}", elem_id="restore_networks"
        )
        side = gr.Radio(
            SIDE_CHOICES, value=SIDE_CHOICES[0][1], label="Compare at (short side)", elem_id="restore_side",
            info="Small is fast; full size shows what really happens to fine rain and noise, in tiles.",
        )  # fmt: skip
        go = gr.Button("Restore", variant="primary", elem_id="restore_go")
    with gr.Column(min_width=320, elem_classes="restore-rest"):
        with gr.Accordion("What these networks are", open=False, elem_id="restore_about_box"):
            about = gr.HTML(cards([]), elem_id="restore_about")
        return Controls(photo, clean, examples, networks, side, go, *_own(), about)


def _own() -> tuple[gr.File, gr.Button]:
    with gr.Accordion("Add your own checkpoint", open=False, elem_id="restore_own_box"):
        gr.Markdown(
            "Published NAFNet and PromptIR files, networks trained here (`config.json` together with "
            "`diffusion_pytorch_model.safetensors`), and with `spandrel` installed many other architectures. "
            "Files are opened without running any code in them.",
            elem_classes="hint",
        )
        files = gr.File(
            label="Checkpoint", type="filepath", height=120, file_count="multiple",
            file_types=[".pth", ".pt", ".ckpt", ".safetensors", ".json"], elem_id="restore_own_files",
        )  # fmt: skip
        add = gr.Button("Add it to the comparison", elem_id="restore_own_add")
    return files, add


def _results() -> dict[str, Any]:
    """The parts of `Results` by name, all but the grid, which spans both sides."""
    with gr.Row(elem_classes="boxed bar", equal_height=True):
        status = StatusLine(
            say("Add a photo or pick an example."), elem_id="restore_status", scale=1, min_width=180
        )
        stop = gr.Button("Cancel", elem_id="restore_cancel", size="sm", scale=0, min_width=84)
    swipe = gr.ImageSlider(
        label="Swipe", elem_id="restore_swipe", format="png", interactive=False, max_height=560,
        buttons=["fullscreen"],
    )  # fmt: skip
    with gr.Row():
        left = gr.Dropdown([], label="Left", elem_id="restore_left", min_width=140)
        right = gr.Dropdown([], label="Right", elem_id="restore_right", min_width=140)
    numbers = gr.HTML(elem_id="restore_numbers", visible=False)
    with gr.Row(equal_height=False):
        wanted = gr.Dropdown([], label="Full-size file of", elem_id="restore_wanted", min_width=150, scale=2)
        suffix = gr.Dropdown(
            FORMAT_CHOICES, value=".png", label="Format", elem_id="restore_suffix", min_width=110, scale=1
        )
    render = gr.Button("Make and download the full-size file", elem_id="restore_render", variant="primary")
    file = gr.DownloadButton("Save the file again", elem_id="restore_file", interactive=False, size="sm")
    gr.Markdown(
        "16 bit, EXIF, colour profile and transparency of your photo are kept. Pictures above 4 megapixels "
        "are shown here as JPEG; the files are exact.",
        elem_classes="hint",
    )
    return {
        **{"status": status, "stop": stop, "swipe": swipe, "left": left, "right": right},
        **{"numbers": numbers, "wanted": wanted, "suffix": suffix, "render": render, "file": file},
    }


def _gallery() -> Gallery:
    with gr.Column(elem_classes="boxed"):
        gr.Markdown("Gallery: several photos as one figure", elem_classes="section-title")
        gr.Markdown(
            "Mark a telling patch in the pictures above, then add the comparison as a row.",
            elem_classes="hint",
        )
        with gr.Row(equal_height=True):
            add = gr.Button(
                "Add this comparison",
                elem_id="gallery_add",
                variant="primary",
                scale=0,
                min_width=190,
                size="md",
            )
            drop = gr.Button(
                "Remove last", elem_id="gallery_drop", interactive=False, scale=0, min_width=140, size="md"
            )
            clear = gr.Button(
                "Clear", elem_id="gallery_clear", interactive=False, scale=0, min_width=90, size="md"
            )
        picture = gr.Image(
            show_label=False, elem_id="gallery_picture", interactive=False, container=False, visible=False,
            buttons=["fullscreen"], format="png",
        )  # fmt: skip
        with gr.Row(equal_height=False):
            form = gr.Dropdown(
                [("PNG", "png"), ("PDF", "pdf")], value="png", label="Figure as", elem_id="gallery_form",
                min_width=110, scale=0,
            )  # fmt: skip
            with gr.Column(min_width=200, scale=1):
                save = gr.Button("Save the figure", elem_id="gallery_save", interactive=False)
                file = gr.DownloadButton(
                    "Save the file again", elem_id="gallery_file", interactive=False, size="sm"
                )
    return Gallery(add, drop, clear, picture, form, save, file)


def _wire_photos(session: gr.State, controls: Controls, results: Results) -> None:
    intake = [results.status, controls.photo, controls.clean]
    live: dict[str, Any] = {"trigger_mode": "always_last", **QUIET}
    taken = gr.on(
        [controls.photo.upload, controls.photo.clear],
        restore_intake.take_photo, [session, controls.photo], intake, **live,
    )  # fmt: skip
    cleaned = gr.on(
        [controls.clean.upload, controls.clean.clear],
        restore_intake.take_clean, [session, controls.clean], intake, **live,
    )  # fmt: skip
    picked = controls.examples.select(_take_example, session, intake, **live)
    for event in (taken, picked):
        _work_after(event, restoration.compare_at_once, session, controls, results)
    _work_after(cleaned, restoration.measure_anew, session, controls, results)


def _work_after(event: Any, work: Any, session: gr.State, controls: Controls, results: Results) -> None:
    """A photo has come in, or its clean version: `work` repaints the page."""
    armed = event.success(cancel.arm, session, results.status, queue=False, **QUIET)
    armed.then(work, [session, controls.networks, controls.side], results.page(), **QUIET, **LANE)


def _wire_comparison(session: gr.State, controls: Controls, results: Results) -> None:
    controls.go.click(cancel.arm, session, results.status, queue=False, **QUIET).then(
        restoration.compare, [session, controls.networks, controls.side], results.page(), **QUIET, **LANE
    )
    results.stop.click(cancel.cancel, session, None, queue=False, **QUIET)
    gr.on(
        [results.left.input, results.right.input], restoration.pair_shown,
        [session, results.left, results.right], results.swipe, trigger_mode="always_last", **QUIET,
    )  # fmt: skip
    results.grid.select(restore_gallery.mark_patch, session, None, queue=False, **QUIET)
    rendered = results.render.click(cancel.arm, session, results.status, queue=False, **QUIET).then(
        restored_files.full_size, [session, results.wanted, results.suffix], [results.file, results.status],
        **QUIET, **LANE,
    )  # fmt: skip
    rendered.success(None, None, None, js=SAVE_SCRIPT % {"id": "restore_file"}, api_visibility="private")


def _wire_own(session: gr.State, controls: Controls, results: Results) -> None:
    controls.own_add.click(
        add_own, [session, controls.own_files, controls.networks],
        [controls.networks, controls.about, results.status], trigger_mode="always_last",
        api_visibility="private",
        show_progress="minimal", show_progress_on=controls.own_files,
    )  # fmt: skip


def _wire_gallery(session: gr.State, results: Results, gallery: Gallery) -> None:
    buttons = [gallery.drop, gallery.clear, gallery.save]
    for button, handler in (
        (gallery.add, restore_gallery.add_row),
        (gallery.drop, restore_gallery.drop_row),
        (gallery.clear, restore_gallery.clear),
    ):
        button.click(handler, session, [results.status, gallery.picture, *buttons], **QUIET)
    saved = gallery.save.click(
        restore_gallery.save_figure, [session, gallery.form], [gallery.file, results.status], **QUIET
    )
    saved.success(None, None, None, js=SAVE_SCRIPT % {"id": "gallery_file"}, api_visibility="private")


def _wire_send(
    session: gr.State, controls: Controls, results: Results, tabs: gr.Tabs, send: gr.Button,
    synthesized: gr.State,
) -> None:  # fmt: skip
    sent = send.click(
        send_from_synthesize, [session, synthesized],
        [results.status, controls.photo, controls.clean, tabs], **QUIET,
    )  # fmt: skip
    _work_after(sent, restoration.compare_at_once, session, controls, results)


@in_sentences
def send_from_synthesize(session: RestoreSession, synthesized: Session) -> tuple[Any, ...]:
    """The picture of the Synthesize tab becomes the photo here, and this tab comes to the front."""
    return *restore_intake.take_shown(session, synthesized), gr.update(selected="restore")


@in_sentences
def _take_example(session: RestoreSession, event: gr.SelectData) -> restore_intake.Intake:
    examples = degraded_examples()
    index = int(str(event.index))
    if not 0 <= index < len(examples):
        raise ValueError(f"there is no example {index}")
    return restore_intake.take_files(session, examples[index].path, examples[index].clean)


def _fill_examples() -> Any:
    return gr.update(value=[(str(example.path), example.title) for example in degraded_examples()])


@in_sentences
def add_own(session: RestoreSession, files: list[str] | None, chosen: list[str]) -> tuple[Any, Any, Any]:
    """A visitor's checkpoint becomes a further choice, ticked; where there is no room, in place of the last.

    Returns the networks to choose from, their cards and the status.
    """
    session.own = restorers.own_choice(_checkpoint(session, [Path(file) for file in files or []]))
    choices = restoration.choices_of(session)
    ticked = [choice for choice in choices if choice.key in (chosen or []) and choice.key != restorers.OWN]
    kept, left_out = ticked[: restorers.MOST - 1], ticked[restorers.MOST - 1 :]
    text = f"{session.own.title} is ticked; press “Restore” to compare it."
    if left_out:
        names = " and ".join(choice.title for choice in left_out)
        text += f" At most {restorers.MOST} can be, so that {names} no longer is."
    keys = [*(choice.key for choice in kept), restorers.OWN]
    return gr.update(choices=_names(choices), value=keys), cards(choices), say(text)


def _checkpoint(session: RestoreSession, files: list[Path]) -> Path:
    """One file as it is; several, such as a config with its weights, side by side in a folder."""
    if not files:
        raise ValueError("No checkpoint was chosen; drop the file first.")
    if len(files) == 1:
        return files[0]
    folder = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=session.folder()))
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return folder


@in_sentences
def _offer(session: RestoreSession) -> tuple[Any, Any, Any]:
    """What can be chosen on a fresh page; without any weights, the sentence that says so."""
    choices = restoration.choices_of(session)
    shown = gr.update(choices=_names(choices), value=[choice.key for choice in choices[: restorers.MOST]])
    status = gr.skip() if choices else say(sentence(ValueError(restorers.NONE_SHIPPED)))
    return shown, cards(choices), status


def _names(choices: list[restorers.Choice]) -> list[tuple[str, str]]:
    return [(choice.title, choice.key) for choice in choices]
