"""How photos come into the Restore tab: dropped, with their clean version, as an example, or synthesized."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.refusals import refusal, sentence
from app.restore_session import RestoreSession
from app.session import Session, SessionPhoto, open_photo, photo_of
from app.synthesis import SHOWN_BY_BROWSERS, browser_copy
from app.widgets.status_line import say


class Intake(NamedTuple):
    """What changes on the page when a photo comes in."""

    status: Any = gr.skip()
    photo: Any = gr.skip()
    clean: Any = gr.skip()


def take_photo(session: RestoreSession, path: str | None) -> Iterator[Intake]:
    """Make the file at `path` the photo to restore; the clean version of the one before is dropped."""
    try:
        opened = open_photo(path) if path else None
    except (ValueError, OSError) as error:
        yield Intake(say(sentence(error)), _box(session.photo))
        raise refusal(error) from error
    _start_over(session, opened, None)
    if opened is None:
        yield Intake(
            say("Add a photo first: drop one on the photo box, paste one, or pick an example."), None
        )
        return
    yield Intake(say(opening(opened)), _box(opened) if not _shown_as_it_is(opened) else gr.skip(), None)


def take_clean(session: RestoreSession, path: str | None) -> Iterator[Intake]:
    """Make the file at `path` the clean version of the photo, so that metrics can be shown."""
    try:
        opened = open_photo(path) if path else None
        if opened is not None:
            _check_fits(photo_of(session), opened)
    except (ValueError, OSError) as error:
        yield Intake(say(sentence(error)), clean=_box(session.clean))
        raise refusal(error) from error
    session.clean = opened
    text = "Clean version added: metrics will be shown." if opened else "Without a clean version."
    yield Intake(say(text), clean=_box(opened) if opened and not _shown_as_it_is(opened) else gr.skip())


def take_files(session: RestoreSession, degraded: Path, clean: Path) -> Intake:
    """A pair from the examples or from the Synthesize tab becomes the photo and its clean version."""
    _start_over(session, open_photo(degraded), open_photo(clean))
    assert session.photo is not None, "just opened"
    return Intake(say(opening(session.photo)), str(degraded), str(clean))


def take_shown(session: RestoreSession, synthesized: Session) -> Intake:
    """The picture that the Synthesize tab shows, with the clean one a restorer should come back to."""
    from gendeg_core.images import write_photo

    result = synthesized.shown
    if result is None:
        raise ValueError("There is no degraded picture yet; make one in the Synthesize tab first.")
    name = synthesized.photo.name if synthesized.photo else "photo"
    stem = f"{name}_{result.request.degradation.value}"
    paths = [session.folder() / f"{stem}{ending}.png" for ending in ("", "_clean")]
    for path, pixels in zip(paths, (result.degraded, result.target), strict=True):
        write_photo(path, pixels)
    return take_files(session, *paths)


def _start_over(session: RestoreSession, photo: SessionPhoto | None, clean: SessionPhoto | None) -> None:
    session.take_ticket()  # what still runs belongs to the old photo
    if photo is not None and clean is not None:
        _check_fits(photo, clean)
    session.photo, session.clean, session.comparison = photo, clean, None


def _check_fits(photo: SessionPhoto, clean: SessionPhoto) -> None:
    if photo.size != clean.size:
        raise ValueError(
            f"The clean version has {clean.size[0]} × {clean.size[1]} pixels and the photo {photo.size[0]} × "
            f"{photo.size[1]}; they have to show the same pixels."
        )


def opening(photo: SessionPhoto) -> str:
    """What the status line says when a photo has come in."""
    width, height = photo.size
    return f"Photo opened: {width} × {height} pixels. {' '.join(photo.warnings)}".strip()


def _box(photo: SessionPhoto | None) -> Any:
    """What the photo box shows of a photo."""
    if photo is None:
        return gr.update(value=None)
    return gr.update(value=str(photo.path) if _shown_as_it_is(photo) else browser_copy(photo))


def _shown_as_it_is(photo: SessionPhoto) -> bool:
    return photo.path.suffix.lower() in SHOWN_BY_BROWSERS
