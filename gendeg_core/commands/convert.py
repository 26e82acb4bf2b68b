"""`convert`: official checkpoints to a folder that `--weights` opens.

GenDeg's generator becomes a folder for `degrade` and `GenDegPipeline`, NAFNet and PromptIR one for `restore`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from gendeg_core.commands import UsageError, one_line

DESCRIPTION = (
    "Turn the official checkpoints of GenDeg, or one of NAFNet or PromptIR, into a folder for --weights."
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("convert", help="open the official checkpoints", description=DESCRIPTION)
    add = parser.add_argument
    add(
        "checkpoint",
        metavar="CKPT",
        type=Path,
        help="GenDeg's generator, NAFNet or PromptIR; .ckpt, .pth or .safetensors",
    )
    add("--structure", metavar="CKPT", type=Path, help="GenDeg's structure correction; none when left out")
    add("--output", metavar="DIR", type=Path, required=True, help="folder to make")
    add("--tokenizer", metavar="DIR", type=Path, help="CLIP tokenizer for GenDeg; from the hub when left out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status.

    Raises:
        UsageError: a file is missing or the output folder is in use.
    """
    for path in (args.checkpoint, args.structure):
        if path is not None and not path.is_file():
            raise UsageError(f"{path} is not a file; give the path of the downloaded checkpoint")
    try:
        folder = _convert(args)
    except (FileNotFoundError, FileExistsError) as error:
        raise UsageError(one_line(error)) from error
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{one_line(error)}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


def _convert(args: argparse.Namespace) -> Path:
    """Which network the file holds decides."""
    if args.structure is None and args.tokenizer is None:
        from gendeg_core.restore import published as restorers

        if restorers.recognise(restorers.read_state(args.checkpoint)) is not None:
            return restorers.convert(args.checkpoint, args.output)
    from gendeg_core.generate.published import convert

    return convert(args.checkpoint, args.structure, args.output, tokenizer=args.tokenizer)
