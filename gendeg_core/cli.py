"""The command line: `python -m gendeg_core COMMAND ...`, one module in `gendeg_core.commands` per command.

Exit status: 0 all done, 1 something failed, 2 arguments that cannot be used, 130 interrupted. What is wrong
is said in one sentence on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from gendeg_core.commands import UsageError, convert, dataset, degrade, embed, evaluate, project, restore


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (the process's own arguments by default) and return its exit status."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed the help or the error already
        return int(stop.code or 0)
    try:
        return args.run(args)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before the first photo\n")
        return 130
    except BrokenPipeError:
        # the reader of our output has left; point the stream elsewhere or Python complains while closing it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gendeg_core", description="Make, see, measure and undo image degradations."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    degrade.add_parser(commands)
    restore.add_parser(commands)
    convert.add_parser(commands)
    dataset.add_parser(commands)
    evaluate.add_parser(commands)
    embed.add_parser(commands)
    project.add_parser(commands)
    return parser
