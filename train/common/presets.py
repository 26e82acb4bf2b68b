"""Command line of the training scripts: `--preset NAME` picks a configuration, other options override it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import tyro

from train.common.errors import UsageError

C = TypeVar("C")


def configuration(presets: Mapping[str, Callable[[], C]], description: str | None) -> C:
    """The chosen preset with the options of the command line laid over it.

    Raises:
        UsageError: an option is given twice, of which tyro would keep the last alone.
    """
    _refuse_repeated(sys.argv[1:])
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--preset", choices=list(presets), default="tiny")
    chosen, rest = first.parse_known_args(sys.argv[1:])
    names = ",".join(presets)
    summary = f"{description or ''}\n--preset {{{names}}} (default tiny) sets every default below."
    default = presets[chosen.preset]()
    return tyro.cli(type(default), default=default, args=rest, description=summary)


def _refuse_repeated(arguments: Sequence[str]) -> None:
    seen: set[str] = set()
    for argument in arguments:
        option = argument.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option in seen:
            raise UsageError(f"{option} is given twice; give it once, with all its values behind it")
        seen.add(option)


def start(main: Callable[[C], None], presets: Mapping[str, Callable[[], C]], description: str | None) -> None:
    """Run `main` with the configuration of the command line; a usage error ends it with one sentence."""
    try:
        main(configuration(presets, description))
    except UsageError as error:
        sys.exit(f"error: {error}")
