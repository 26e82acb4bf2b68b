"""The cancel button: it stops the work between two units of it, and the handler says what is left."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from app import engines
from app.settings import Job
from app.widgets.status_line import say
from gendeg_core.types import DegradationResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")


class Cancellable(Protocol):
    """A session whose work a button stops; see `session.Session`."""

    cancels: int
    armed: int


class CancelledError(Exception):
    """The visitor pressed cancel while an engine was working."""


def arm(session: Cancellable) -> Any:
    """Long work was asked for; from now on a press of cancel is meant for it, also while it waits."""
    session.armed = session.cancels
    return say("Waiting for a free place", 0)


def cancel(session: Cancellable) -> None:
    session.cancels += 1


def stoppable(session: Cancellable, wanted: int, steps: Iterator[Item]) -> Generator[Item]:
    """The items of `steps`; a cancel closes it between two items and raises CancelledError.

    Gradio's own `cancels` would stop the handler too, but then nobody is left to say that it stopped.
    """
    try:
        for item in steps:
            if session.cancels != wanted:
                raise CancelledError
            yield item
    finally:
        steps.close()  # pyright: ignore[reportAttributeAccessIssue] - all of them are generators


def until_cancelled(session: Cancellable, wanted: int) -> engines.Run:
    """Runs a job until it ends or the visitor cancels."""

    def run(clean: Tensor, job: Job) -> Iterator[Progress | DegradationResult]:
        return stoppable(session, wanted, engines.run_job(clean, job))

    return run
