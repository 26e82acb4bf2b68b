"""The Dataset tab: photos in, a small audited data set of clean and degraded pairs out."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app import cancel, engines
from app.cancel import CancelledError
from app.dataset import (
    MOST_PER_IMAGE,
    MOST_PHOTOS,
    SIZES,
    Finished,
    make_dataset,
    read_order,
    temporary_folder,
)
from app.examples import example_photos
from app.refusals import expected, refusal, sentence
from app.session import Session
from app.settings import DEFAULT_SEED, SEED_TOP
from app.tabs.synthesize import DEGRADATION_CHOICES, ENGINE_CHOICES, QUIET
from app.widgets.status_line import StatusLine, say
from gendeg_core.dataset.audit_numbers import Check
from gendeg_core.dataset.run import RunProgress
from gendeg_core.images import READABLE

# A run takes one thread for minutes, so there is one at a time, beside the lanes of the other tabs.
LANE: dict[str, Any] = {"concurrency_id": "dataset", "concurrency_limit": 1}
EXAMPLES, OWN = "examples", "own"
EACH = 0  # pictures per photo: one of each degradation
INTRO = (
    "Make a small data set from a few photos: each photo in several degradations, with strengths drawn as "
    "the published data has them, filtered, audited, packed as Parquet that `datasets.load_dataset` opens. "
    f"At most {MOST_PHOTOS} photos here; for more, run `python -m gendeg_core dataset` on your own machine."
)


class Page(NamedTuple):
    """One repaint of the result side of the tab; parts that are not given stay as they are."""

    status: Any = gr.skip()
    verdict: Any = gr.skip()
    pairs: Any = gr.skip()
    report: Any = gr.skip()
    archive: Any = gr.skip()
    report_file: Any = gr.skip()


def build() -> None:
    """Lay the tab out inside an open `gr.Tab` and wire it."""
    session = gr.State(Session())
    gr.Markdown(INTRO, elem_classes="hint")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            photos, source, asked, make = _controls()
        with gr.Column(scale=7, min_width=320):
            stop, results = _results()
    photos.upload(lambda: OWN, None, source, queue=False, **QUIET)
    photos.clear(lambda: EXAMPLES, None, source, queue=False, **QUIET)
    make.click(cancel.arm, session, results[0], queue=False, **QUIET).then(
        run, [session, source, photos, *asked], results, **QUIET, **LANE
    )
    stop.click(cancel.cancel, session, None, queue=False, **QUIET)


def _controls() -> tuple[gr.File, gr.Radio, list[Any], gr.Button]:
    source = gr.Radio(
        [(f"{len(example_photos())} built-in examples", EXAMPLES), ("Own photos", OWN)],
        value=EXAMPLES, label="Photos", elem_id="dataset_source",
    )  # fmt: skip
    photos = gr.File(
        label=f"Own photos, at most {MOST_PHOTOS}: drop or choose", file_count="multiple",
        file_types=list(READABLE), type="filepath", height=150, elem_id="dataset_photos",
    )  # fmt: skip
    kinds = gr.CheckboxGroup(
        DEGRADATION_CHOICES, value=[value for _, value in DEGRADATION_CHOICES], label="Degradations",
        elem_id="dataset_degradations",
    )  # fmt: skip
    engine = gr.Radio(
        ENGINE_CHOICES, value="simulator", label="Engine", elem_id="dataset_engine",
        info="GenDeg is learned and varied, and slow without a GPU; the simulator follows formulas.",
    )  # fmt: skip
    with gr.Row(equal_height=True):
        seed = gr.Number(
            DEFAULT_SEED, precision=0, minimum=0, maximum=SEED_TOP, label="seed", elem_id="dataset_seed",
            info="Same seed, same data set.", min_width=140,
        )  # fmt: skip
        per_image = gr.Dropdown(
            [("one of each", EACH), *((str(n), n) for n in range(1, MOST_PER_IMAGE + 1))],
            value=EACH, label="pictures per photo", elem_id="dataset_per_image", min_width=140,
            info="Fewer than degradations: drawn.",
        )  # fmt: skip
    size = gr.Radio(
        [(f"{side} px", side) for side in SIZES], value=SIZES[0], label="Picture size (short side)",
        elem_id="dataset_size",
    )  # fmt: skip
    make = gr.Button("Make the data set", variant="primary", elem_id="dataset_make")
    return photos, source, [kinds, engine, seed, per_image, size], make


def _results() -> tuple[gr.Button, list[Any]]:
    """The cancel button, and the components of `Page` in its order."""
    with gr.Row(elem_classes="boxed bar", equal_height=True):
        status = StatusLine(say("Nothing made yet."), elem_id="dataset_status", scale=1, min_width=180)
        stop = gr.Button("Cancel", elem_id="dataset_cancel", size="sm", scale=0, min_width=84)
    verdict = gr.HTML(elem_id="dataset_verdict", visible=False)
    with gr.Row():
        archive = gr.DownloadButton(
            "Download the data set (zip)", interactive=False, elem_id="dataset_archive", variant="primary"
        )
        report_file = gr.DownloadButton(
            "Download the audit report", interactive=False, elem_id="dataset_report_file"
        )
    pairs = gr.Gallery(
        label="Pairs: clean and degraded", columns=2, height="auto", object_fit="contain", format="jpeg",
        elem_id="dataset_pairs", visible=False, interactive=False, buttons=["fullscreen"],
    )  # fmt: skip
    report = gr.HTML(elem_id="dataset_report", visible=False)
    return stop, [status, verdict, pairs, report, archive, report_file]


def run(
    session: Session,
    source: str,
    photos: list[str] | None,
    degradations: list[str],
    engine: str,
    seed: float,
    per_image: int,
    size: int,
) -> Iterator[Page]:
    """Make what the controls ask for; a cancel or a refusal leaves nothing of the data set behind."""
    wanted = session.armed
    yield _emptied(say("Looking at the photos", 0))
    with temporary_folder() as folder:
        try:
            given = None if source == EXAMPLES else photos or []
            order = read_order(given, degradations, engine, seed, per_image or None, size)
            if reason := engines.unavailable_reason(order.engine):
                raise ValueError(reason)
            for item in make_dataset(order, Path(folder), lambda: session.cancels != wanted):
                yield _finished(item) if isinstance(item, Finished) else Page(status=_where(item))
        except CancelledError:
            yield Page(status=say("Cancelled: nothing was kept."))
        except Exception as error:
            if not expected(error):
                raise
            yield Page(status=say(sentence(error)))
            raise refusal(error) from error


def _emptied(status: dict[str, Any]) -> Page:
    """What an earlier run left on the page goes, so that nobody takes it for this one's."""
    hidden, no_file = gr.update(value=None, visible=False), gr.update(value=None, interactive=False)
    return Page(status, hidden, hidden, hidden, no_file, no_file)


def _where(progress: RunProgress) -> dict[str, Any]:
    text = f"{progress.done} of {progress.total} pictures"
    if progress.done == progress.total:
        return say(f"{text}; auditing them", 1)
    if not progress.done:
        text += "; the count moves photo by photo"
    elif progress.seconds_left is not None:
        text += f", {progress.per_second:.2g} a second, about {progress.seconds_left:.0f} s left"
    return say(text, progress.done / progress.total)


def _finished(made: Finished) -> Page:
    progress, size = made.progress, made.archive.stat().st_size / 1e6
    passed = "passed" if made.audit.passed else "failed"
    text = (
        f"{progress.total} pairs, {progress.rejected} refused by the filter; audit {passed}; "
        f"the zip has {size:.1f} MB."
    )
    label = f"Pairs, clean and degraded: {len(made.pairs)} of {progress.total}"
    return Page(
        status=say(text),
        verdict=gr.update(value=verdict_table(made.audit.checks, passed=made.audit.passed), visible=True),
        pairs=gr.update(value=made.pairs, visible=True, label=label),
        report=gr.update(value=_framed(made.report.read_text(encoding="utf-8")), visible=True),
        archive=gr.update(value=str(made.archive), interactive=True),
        report_file=gr.update(value=str(made.report), interactive=True),
    )


def verdict_table(checks: list[Check], *, passed: bool) -> str:
    """HTML: the audit's verdict, and each criterion with pass or fail and what was found."""

    rows = "".join(
        f"<li>{_mark(check)}<span><strong>{escape(check.name)}.</strong> {escape(check.finding)}</span></li>"
        for check in checks
    )
    verdict = "The data set passes its audit." if passed else "The data set fails its audit."
    return f'<div class="verdict"><h3>{verdict}</h3><ul>{rows}</ul></div>'


def _mark(check: Check) -> str:
    word = "pass" if check.passed else "fail"
    if check.passed and check.finding.startswith("not judged"):  # too few pairs to say anything
        word = "open"
    return f'<b class="{word}">{word}</b>'


def _framed(report: str) -> str:
    """The report in a frame of its own, without scripts and without reach into this page."""
    return f'<iframe sandbox="" title="Audit report" srcdoc="{escape(report, quote=True)}"></iframe>'
