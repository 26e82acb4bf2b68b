"""`convert`: the official GenDeg checkpoints to a folder that `--weights` and `GenDegPipeline` open."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gendeg_core.commands import UsageError, one_line

DESCRIPTION = "Turn the official GenDeg checkpoints into a folder of weights for --weights."


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("convert", help="open the official checkpoints", description=DESCRIPTION)
    add = parser.add_argument
    add("checkpoint", metavar="GENDEG_CKPT", type=Path, help="the official generator, .ckpt or .safetensors")
    add(
        "--structure", metavar="CKPT", type=Path, help="the official structure correction; none when left out"
    )
    add("--output", metavar="DIR", type=Path, required=True, help="folder to make")
    add("--tokenizer", metavar="DIR", type=Path, help="CLIP tokenizer; from the hub when left out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status.

    Raises:
        UsageError: a file is missing or the output folder is in use.
    """
    for path in (args.checkpoint, args.structure):
        if path is not None and not path.is_file():
            raise UsageError(f"{path} is not a file; give the path of the downloaded checkpoint")
    from gendeg_core.generate.published import convert

    try:
        folder = convert(args.checkpoint, args.structure, args.output, tokenizer=args.tokenizer)
    except (FileNotFoundError, FileExistsError) as error:
        raise UsageError(one_line(error)) from error
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{one_line(error)}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0
