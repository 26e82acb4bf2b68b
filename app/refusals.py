"""Refusals of the core become one sentence on the page; everything else stays a loud error in the log."""

from __future__ import annotations

import errno
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr

Handler = TypeVar("Handler", bound=Callable[..., Any])


def expected(error: Exception) -> bool:
    """Whether an error is a refusal, or memory that was too short, which torch calls a RuntimeError."""
    from gendeg_core.device import out_of_memory

    return isinstance(error, (ValueError, OSError)) or out_of_memory(error)


def sentence(error: BaseException) -> str:
    """What to tell the visitor about a refusal."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            "The server's disk is full, so the file was not written; nothing else was lost. Try again later."
        )
    from gendeg_core.device import out_of_memory

    if out_of_memory(error):
        return "The server has not enough memory for this photo; choose a smaller one."
    text = str(error).strip() or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


def refusal(error: BaseException) -> gr.Error:
    return gr.Error(sentence(error), print_exception=False, duration=8)


def in_sentences(handler: Handler) -> Handler:
    """Wrap a handler, plain or generator, so that expected errors reach the visitor as a sentence."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def steps(*arguments: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from handler(*arguments, **named)
            except Exception as error:
                if not expected(error):
                    raise
                raise refusal(error) from error

        return steps  # pyright: ignore[reportReturnType]

    @functools.wraps(handler)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return handler(*arguments, **named)
        except Exception as error:
            if not expected(error):
                raise
            raise refusal(error) from error

    return call  # pyright: ignore[reportReturnType]
