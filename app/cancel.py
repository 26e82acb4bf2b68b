"""The cancel button: it stops the engine between two units of work, and the handler says what is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app import engines
from app.session import Session
from app.settings import Job
from app.widgets.status_line import say
from gendeg_core.types import DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor


class CancelledError(Exception):
    """The visitor pressed cancel while an engine was working."""


def arm(session: Session) -> Any:
    """Long work was asked for; from now on a press of cancel is meant for it, also while it waits."""
    session.armed = session.cancels
    return say("Waiting for a free place", 0)


def cancel(session: Session) -> None:
    session.cancels += 1


def until_cancelled(session: Session, wanted: int) -> engines.Run:
    """Runs a job; a cancel closes its engine between two items and raises CancelledError.

    Gradio's own `cancels` would stop the handler too, but then nobody is left to say that it stopped.
    """

    def run(clean: Tensor, job: Job) -> Iterator[Progress | DegradationResult]:
        steps = engines.run_job(clean, job)
        try:
            for item in steps:
                if session.cancels != wanted:
                    raise CancelledError
                yield item
        finally:
            steps.close()

    return run
