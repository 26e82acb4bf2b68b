"""The Synthesize tab: a photo, a degradation, two numbers; before and after, the map, what was obtained."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, cast

import gradio as gr
from gradio.components import Component

from app import cancel, engines, grids, synthesis
from app.examples import example_photos
from app.figures import histogram_background
from app.session import PREVIEW_SIDES, Session
from app.settings import DEFAULT_MU, DEFAULT_SEED, DEFAULT_SIGMA, SEED_TOP, number, read_link
from app.widgets.mu_sigma_pad import MuSigmaPad
from app.widgets.photo_input import PhotoInput
from app.widgets.readout import Readout
from app.widgets.status_line import StatusLine, say
from app.widgets.tile_grid import TileGrid
from gendeg_core.types import MU_MAX, SIGMA_MAX, Degradation

# A live control: the newest value always arrives, values passed on the way there are dropped.
LIVE: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", "api_visibility": "private"}
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Previews of several visitors may run side by side; long work waits its turn, one at a time.
PREVIEW_LANE: dict[str, Any] = {"concurrency_id": "preview", "concurrency_limit": 2}
LONG_LANE: dict[str, Any] = {"concurrency_id": "long", "concurrency_limit": 1}

DEGRADATION_CHOICES = [(kind.label, kind.value) for kind in Degradation]
ENGINE_CHOICES = [(label, name) for name, label in engines.LABELS.items()]
FORMAT_CHOICES = [
    ("PNG, nothing lost", ".png"),
    ("JPEG, smaller", ".jpg"),
    ("TIFF", ".tif"),
    ("WebP", ".webp"),
]

LINK_SCRIPT = """(degradation, mu, sigma, seed, engine) => {
  const query = new URLSearchParams(location.search);
  Object.entries({degradation, mu, sigma, seed, engine}).forEach(([name, value]) => {
    if (value !== null && value !== undefined && value !== '') query.set(name, value);
  });
  history.replaceState(null, '', '?' + query.toString());
}"""
SAVE_SCRIPT = """() => setTimeout(() => {
  const link = document.querySelector('a#file, #file a, button#file, #file button');
  if (link) link.click();
}, 150)"""


@dataclass
class Controls:
    """Everything on the left side of the page."""

    photo: PhotoInput
    examples: gr.Dataset
    degradation: gr.Radio
    mu: gr.Slider
    sigma: gr.Slider
    pad: MuSigmaPad
    surprise: gr.Button
    seed: gr.Number
    reseed: gr.Button
    caption: gr.Textbox
    engine: gr.Radio
    notice: StatusLine
    steps: gr.Number
    guidance: gr.Number
    image_guidance: gr.Number
    side: gr.Radio
    reset: gr.Button

    def asked(self) -> list[Component]:
        """The inputs of every handler that runs an engine, in the order of `settings.read_job`."""
        return [
            *(self.degradation, self.mu, self.sigma, self.seed, self.caption, self.engine),
            *(self.steps, self.guidance, self.image_guidance),
        ]

    def live(self) -> list[Component]:
        """Whatever is followed at once; a new degradation may move the sliders first."""
        return [*self.asked()[1:], self.pad, self.side]


@dataclass
class Results:
    """Everything on the right side of the page and below."""

    status: StatusLine
    stop: gr.Button
    compare: gr.ImageSlider
    send: gr.Button
    readout: Readout
    heat: gr.Image
    suffix: gr.Dropdown
    render: gr.Button
    file: gr.DownloadButton
    run_sweep: gr.Button
    sweep: TileGrid
    run_six: gr.Button
    six: TileGrid


def build(demo: gr.Blocks) -> tuple[gr.State, gr.Button]:
    """Lay the tab out inside an open `gr.Tab` and wire it.

    Returns:
        The visitor's session, and the button that sends its picture to the Restore tab.
    """
    session = gr.State(Session())
    with gr.Row(elem_id="bench", equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_id="controls"):
            controls = _controls()
        with gr.Column(scale=7, min_width=320, elem_id="results"):
            shown = _results()
    gallery = _grids()
    results = Results(*shown, *gallery)
    _wire(demo, session, controls, results)
    return session, results.send


def _controls() -> Controls:
    # Three groups: on a phone the picture moves between the second and the third (style.css).
    with gr.Column(min_width=320, elem_classes="group-photo"):
        photo = PhotoInput(label="Your photo: drop, paste or choose", elem_id="photo", height=220)
        examples = gr.Dataset(
            components=["image"],
            samples=[[str(example.path)] for example in example_photos()],
            type="index",
            label="Or start with one of these",
            elem_id="examples",
            layout="gallery",
        )
    with gr.Column(min_width=320, elem_classes="group-main"):
        degradation = gr.Radio(
            DEGRADATION_CHOICES, value=Degradation.HAZE.value, label="Degradation", elem_id="degradation"
        )
        mu = gr.Slider(
            0, MU_MAX, DEFAULT_MU, step=0.001, label="strength (mu)", elem_id="mu",
            info="How far pixels move on average; 0 leaves the photo as it is.",
        )  # fmt: skip
        sigma = gr.Slider(
            0, SIGMA_MAX, DEFAULT_SIGMA, step=0.001, label="unevenness (sigma)", elem_id="sigma",
            info="How much it differs from place to place: low is an even veil, high is patches and streaks.",
        )  # fmt: skip
    with gr.Column(min_width=320, elem_classes="group-rest"):
        return Controls(photo, examples, degradation, mu, sigma, *_pad_and_seed(), *_engine(), *_advanced())


def _pad_and_seed() -> tuple[Any, ...]:
    with gr.Column(min_width=320, elem_classes="boxed"):
        gr.Markdown("Both at once: click or drag", elem_classes="section-title")
        pad = MuSigmaPad(
            [DEFAULT_MU, DEFAULT_SIGMA], heat=histogram_background(Degradation.HAZE), elem_id="pad"
        )
        surprise = gr.Button("Surprise me: draw from the published data", elem_id="surprise", size="sm")
    with gr.Row(equal_height=True):
        seed = gr.Number(
            DEFAULT_SEED, precision=0, minimum=0, maximum=SEED_TOP, label="seed", elem_id="seed",
            info="Same seed, same picture.", min_width=140, scale=3,
        )  # fmt: skip
        reseed = gr.Button("New seed", elem_id="reseed", size="sm", min_width=100, scale=1)
    return pad, surprise, seed, reseed


def _engine() -> tuple[Any, ...]:
    caption = gr.Textbox(
        label="What the photo shows", elem_id="caption", max_lines=2, placeholder="a street with parked cars",
        info="A short caption helps GenDeg; the simulator does not read it.",
    )  # fmt: skip
    engine = gr.Radio(
        ENGINE_CHOICES, value="simulator", label="Engine", elem_id="engine",
        info="GenDeg is learned and varied; the simulator follows formulas and is instant.",
    )  # fmt: skip
    notice = StatusLine(elem_id="notice", visible=False)
    return caption, engine, notice


def _advanced() -> tuple[Any, ...]:
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        gr.Markdown("Empty fields take the values that the weights were made for.", elem_classes="hint")
        with gr.Row():
            steps = gr.Number(
                None, precision=0, label="steps", elem_id="steps", min_width=90, minimum=1, maximum=1000
            )
            guidance = gr.Number(
                None, label="guidance", elem_id="guidance", min_width=90, minimum=0, maximum=30
            )
            image_guidance = gr.Number(
                None, label="image guidance", elem_id="image_guidance", min_width=90, minimum=0, maximum=30
            )
        side = gr.Radio(
            [(f"{side} px", side) for side in PREVIEW_SIDES], value=PREVIEW_SIDES[0],
            label="Preview size (short side)", elem_id="side",
        )  # fmt: skip
        reset = gr.Button("Reset advanced settings", elem_id="reset", size="sm")
    return steps, guidance, image_guidance, side, reset


def _results() -> tuple[Any, ...]:
    with gr.Row(elem_classes="boxed bar", equal_height=True):
        status = StatusLine(say("Loading…"), elem_id="status", scale=1, min_width=180)
        stop = gr.Button("Cancel", elem_id="cancel", size="sm", scale=0, min_width=84)
    compare = gr.ImageSlider(
        label="Before and after", elem_id="compare", format="png", interactive=False, max_height=560,
        buttons=["fullscreen"],
    )  # fmt: skip
    gr.Markdown(
        f"Preview at {PREVIEW_SIDES[0]} px (short side), so that it keeps up with the sliders. The full-size "
        "file is rendered anew from your photo: same settings, finer detail.",
        elem_classes="hint",
    )
    send = gr.Button("Restore this picture", elem_id="send", size="sm")
    with gr.Column(min_width=320, elem_classes="boxed"):
        readout = Readout(elem_id="readout")
    with gr.Column(min_width=320, elem_classes="boxed"):
        gr.Markdown("Degradation map: how far each pixel moved, 0 to 1", elem_classes="section-title")
        heat = gr.Image(
            show_label=False, elem_id="heat", format="png", interactive=False, container=False,
            buttons=["download", "fullscreen"],
        )  # fmt: skip
    with gr.Row(equal_height=False):
        suffix = gr.Dropdown(
            FORMAT_CHOICES, value=".png", label="Full-size file", elem_id="suffix", min_width=150, scale=1
        )
        with gr.Column(min_width=200, scale=2):
            render = gr.Button("Render and download at full size", elem_id="render", variant="primary")
            file = gr.DownloadButton("Save the file again", elem_id="file", interactive=False, size="sm")
    return status, stop, compare, send, readout, heat, suffix, render, file


def _grids() -> tuple[Any, ...]:
    with gr.Tabs():
        with gr.Tab("Sweep mu and sigma", elem_id="sweep_tab"):
            gr.Markdown(
                "The chosen degradation with strength across and unevenness down, over the range of the "
                "published data. Select a picture to work on it.",
                elem_classes="hint",
            )
            with gr.Row():
                run_sweep = gr.Button(
                    "Draw the sweep", elem_id="run_sweep", variant="primary", scale=0, min_width=180
                )
            sweep = TileGrid(elem_id="sweep", min_width=320)
        with gr.Tab("All six at once", elem_id="six_tab"):
            gr.Markdown(
                "The same photo, strength, unevenness and seed in all six degradations.", elem_classes="hint"
            )
            with gr.Row():
                run_six = gr.Button(
                    "Draw all six", elem_id="run_six", variant="primary", scale=0, min_width=180
                )
            six = TileGrid(elem_id="six", min_width=320)
    return run_sweep, sweep, run_six, six


def _wire(demo: gr.Blocks, session: gr.State, controls: Controls, results: Results) -> None:
    _sync_pad(controls)
    view = [results.status, results.compare, results.heat, results.readout, controls.pad]
    preview: dict[str, Any] = {
        "fn": synthesis.preview, "inputs": [session, controls.side, *controls.asked()], "outputs": view,
        **LIVE, **PREVIEW_LANE,
    }  # fmt: skip
    gr.on([cast("Any", control).input for control in controls.live()], **preview)
    moved = controls.degradation.input(
        _choose,
        [controls.degradation, controls.mu, controls.sigma],
        [controls.mu, controls.sigma, controls.pad],
        queue=False,
        **QUIET,
    )
    moved.then(**preview)
    _wire_photo(session, controls, results, preview)
    _wire_choices(controls, preview)
    _wire_long(session, controls, results)
    for grid in (results.sweep, results.six):
        setting = [controls.degradation, controls.mu, controls.sigma, controls.pad]
        grid.select(_pick, None, setting, **QUIET).then(**preview)
    results.stop.click(cancel.cancel, session, None, queue=False, **QUIET)
    linked = [controls.degradation, controls.mu, controls.sigma, controls.seed, controls.engine]
    gr.on(
        [control.change for control in linked], None, linked, None, js=LINK_SCRIPT, api_visibility="private"
    )
    page = [controls.degradation, controls.mu, controls.sigma, controls.seed, controls.pad]
    opening = demo.load(_open_page, None, page, **QUIET)
    first = opening.then(_first_photo, session, [controls.photo, controls.caption], **QUIET)
    chosen = first.then(_choose_engine, None, [controls.engine, controls.notice], **QUIET)
    chosen.then(**preview)


def _sync_pad(controls: Controls) -> None:
    """Sliders and pad follow each other in the browser; registered first, so that handlers see both moved."""
    numbers = [controls.mu, controls.sigma]
    for event in (controls.pad.input, controls.pad.release):
        event(None, controls.pad, numbers, js="(value) => [value[0], value[1]]", api_visibility="private")
    gr.on(
        [controls.mu.input, controls.sigma.input], None, numbers, controls.pad,
        js="(mu, sigma) => [[mu, sigma]]", trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip


def _wire_photo(session: gr.State, controls: Controls, results: Results, preview: dict[str, Any]) -> None:
    taken = gr.on(
        [controls.photo.upload, controls.photo.clear],
        synthesis.take_photo,
        [session, controls.photo, controls.caption],
        [results.status, controls.photo, controls.caption],
        trigger_mode="always_last",
        **QUIET,
    )
    picked = controls.examples.click(
        synthesis.take_example, [session, controls.examples, controls.caption],
        [controls.photo, controls.caption], **QUIET,
    )  # fmt: skip
    for event in (taken, picked):
        event.success(**preview)


def _wire_choices(controls: Controls, preview: dict[str, Any]) -> None:
    drawn = controls.surprise.click(
        _surprise, controls.degradation, [controls.mu, controls.sigma, controls.pad], **QUIET
    )
    reseeded = controls.reseed.click(
        None, None, controls.seed, js="() => Math.floor(Math.random() * 2 ** 31)", api_visibility="private"
    )
    reset = controls.reset.click(
        lambda: (None, None, None, PREVIEW_SIDES[0]),
        None,
        [controls.steps, controls.guidance, controls.image_guidance, controls.side],
        queue=False,
        **QUIET,
    )
    for event in (drawn, reseeded, reset):
        event.then(**preview)


def _wire_long(session: gr.State, controls: Controls, results: Results) -> None:
    asked = controls.asked()
    for button, handler, grid in (
        (results.run_sweep, grids.draw_sweep, results.sweep),
        (results.run_six, grids.draw_all_six, results.six),
    ):
        button.click(cancel.arm, session, results.status, queue=False, **QUIET).then(
            handler, [session, controls.side, *asked], [grid, results.status], **QUIET, **LONG_LANE
        )
    armed = results.render.click(cancel.arm, session, results.status, queue=False, **QUIET)
    rendered = armed.then(
        synthesis.full_size, [session, results.suffix, *asked], [results.file, results.status],
        **QUIET, **LONG_LANE,
    )  # fmt: skip
    rendered.success(None, None, None, js=SAVE_SCRIPT, api_visibility="private")


def _choose(degradation: str, mu: float, sigma: float) -> tuple[float, float, Any]:
    """The pad of another degradation, and the sliders where it has pictures."""
    with contextlib.suppress(ValueError):  # an unusable number stays; the preview says what is wrong with it
        mu, sigma = synthesis.usual(degradation, mu, sigma)
    heat = histogram_background(Degradation.parse(degradation))
    return mu, sigma, gr.update(value=[mu, sigma], heat=heat, obtained=None)


def _surprise(degradation: str) -> tuple[float, float, list[float]]:
    mu, sigma = synthesis.surprise(degradation)
    return mu, sigma, [mu, sigma]


def _pick(event: gr.EventData) -> tuple[str, float, float, Any]:
    """A tile becomes the setting. Its values come back from the browser, so they are checked again."""
    degradation = Degradation.parse(str(event.degradation))
    mu, sigma = number("mu", event.mu), number("sigma", event.sigma)
    pad = gr.update(value=[mu, sigma], heat=histogram_background(degradation), obtained=None)
    return degradation.value, mu, sigma, pad


def _open_page(request: gr.Request) -> tuple[str, float, float, int, Any]:
    """The settings that the address carries, or the defaults and a sentence."""
    try:
        link = read_link(dict(request.query_params))
    except ValueError as error:
        gr.Warning(f"The link has an unusable setting, so the defaults are shown: {error}.")
        link = read_link({})
    pad = gr.update(value=[link.mu, link.sigma], heat=histogram_background(link.degradation))
    return link.degradation.value, link.mu, link.sigma, link.seed, pad


def _first_photo(session: Session) -> tuple[str, Any]:
    return synthesis.take_example(session, 0, "")


def _choose_engine(request: gr.Request) -> tuple[str, Any]:
    """GenDeg when its weights load, else the simulator and the reason why; a link's choice stays."""
    asked = dict(request.query_params).get("engine")
    reason = engines.unavailable_reason("gendeg")
    chosen = asked if asked in engines.LABELS else "simulator" if reason else "gendeg"
    return chosen, gr.update(value=say(reason or ""), visible=reason is not None)
