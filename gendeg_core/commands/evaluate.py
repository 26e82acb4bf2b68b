"""`evaluate`: restorers on pairs of degraded and clean images, as a table with intervals.

A run can be killed at any time and repeated: pairs that were measured with the same settings are not measured
again. They wait in a file beside the table, which goes when the table is written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.commands import UsageError, one_line, say
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from gendeg_core.commands.measured import Measured
    from gendeg_core.dataset.pairs import PairReader
    from gendeg_core.metrics.choice import Metrics
    from gendeg_core.metrics.summary import ImageRow
    from gendeg_core.restore.loading import Restorer

DESCRIPTION = """Restore the degraded image of every pair and measure how close it comes to the clean one."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("evaluate", help="measure restorers on pairs", description=DESCRIPTION)
    add = parser.add_argument
    add("--pairs", metavar="DIR", type=Path, required=True, help="lq and gt folders, or a data set of pairs")
    add("--output", metavar="TABLE", type=Path, required=True, help="table to write, .csv or .md")
    add("--model", metavar="NAME", nargs="+", required=True, help="nafnet, promptir, swin, any; one or more")
    add("--weights", metavar="NAME", nargs="+", default=["existing"], help="existing, gends, or a path")
    add("--metrics", metavar="NAMES", help="some, separated by commas (default all)")
    add("--degradation", metavar="NAME", help="what lq/gt folders show, or the only one to take")
    add("--tile", metavar="N", type=int, help="side of the tiles; 0 for one piece (default: by size)")
    add("--seed", type=int, default=0, help="of the bootstrap (default 0)")
    add("--lpips-trunk", metavar="FILE", type=Path, help="AlexNet weights for LPIPS")
    add("--inception-weights", metavar="FILE", type=Path, help="Inception weights for FID and KID")
    add("--download", action="store_true", help="fetch such weights if they are not on disk")
    add("--json", action="store_true", help="one line of JSON per image on standard output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status 0, 1 or 130.

    Raises:
        UsageError: the arguments cannot be used.
    """
    from gendeg_core.commands.measured import Measured
    from gendeg_core.dataset.pairs import PairsError
    from gendeg_core.metrics.bootstrap import RESAMPLES
    from gendeg_core.metrics.summary import summarise
    from gendeg_core.metrics.table import Facts, installed_versions, write_tables

    pairs, metrics, restorers = _prepared(args)
    for name, why in metrics.missing.items():
        say(f"{name} is not measured: {why}")
    measured = Measured(
        args.output.with_suffix(".measured.jsonl"), _settings(args, restorers, metrics, installed_versions())
    )
    rows: list[ImageRow] = []
    try:
        for of_pair in _shown(args, pairs, restorers, metrics, measured):
            rows += of_pair
            if args.json:
                _print_json(of_pair)
    except KeyboardInterrupt:
        done = len(rows) // (len(restorers) + 1)
        say(f"interrupted: {done} of {len(pairs)} pairs measured, no table written; repeat it to go on")
        return 130
    except PairsError as error:
        raise UsageError(str(error)) from error
    except (ValueError, OSError, RuntimeError) as error:  # torch: RuntimeError if memory is short
        say(one_line(error))
        return 1
    summary = summarise(rows, metrics, seed=args.seed)
    facts = Facts(str(args.pairs), args.seed, RESAMPLES, installed_versions(), _notes(restorers))
    for path in write_tables(args.output, summary, rows, metrics, facts):
        sys.stdout.write("" if args.json else f"{path}\n")
    measured.remove()
    return 0


def _prepared(args: argparse.Namespace) -> tuple[PairReader, Metrics, list[Restorer]]:
    """What is cheap to refuse first, then the pairs, the metrics and the networks."""
    from gendeg_core.dataset.readers import pairs_in
    from gendeg_core.device import pick_device
    from gendeg_core.metrics.choice import NAMES, Trunks, load_metrics
    from gendeg_core.metrics.table import check_suffix
    from gendeg_core.restore.infer import check_tile
    from gendeg_core.restore.loading import load_restorer

    names = args.metrics.split(",") if args.metrics else NAMES
    try:
        check_suffix(args.output)
        check_tile(args.tile)
        kind = Degradation.parse(args.degradation) if args.degradation else None
        pairs = pairs_in(args.pairs, degradation=kind, unlabelled=True)
        trunks = Trunks(args.lpips_trunk, args.inception_weights, args.download, str(pick_device()))
        metrics = load_metrics([name.strip() for name in names], trunks)
        restorers = [load_restorer(model, weights) for model in args.model for weights in args.weights]
        _check_distinct(restorers)
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error
    return pairs, metrics, restorers


def _check_distinct(restorers: list[Restorer]) -> None:
    """The table knows restorers by model and weights, so none may come twice."""
    seen: set[tuple[str, str]] = set()
    for restorer in restorers:
        if (restorer.model, restorer.weights) in seen:
            raise ValueError(f"{restorer.model} with {restorer.weights} is asked for twice; name each once")
        seen.add((restorer.model, restorer.weights))


def _settings(
    args: argparse.Namespace, restorers: list[Restorer], metrics: Metrics, versions: dict[str, str]
) -> dict[str, Any]:
    """All that a row depends on besides its images."""
    named = ("pairs", "degradation", "tile", "lpips_trunk", "inception_weights")
    return {
        **{name: None if getattr(args, name) is None else str(getattr(args, name)) for name in named},
        "restorers": [[restorer.model, restorer.weights] for restorer in restorers],
        "metrics": [name for name in metrics.names if name not in metrics.missing],
        "versions": versions,
    }


def _shown(
    args: argparse.Namespace,
    pairs: PairReader,
    restorers: list[Restorer],
    metrics: Metrics,
    measured: Measured,
) -> Iterator[list[ImageRow]]:
    """The rows pair by pair, those of an interrupted run first, with a progress bar on a terminal."""
    from tqdm import tqdm

    from gendeg_core.evaluate import evaluate

    before, each = len(measured), len(restorers) + 1
    taken = measured.take(pairs)
    if taken:
        say(f"{len(taken)} of {len(pairs)} pairs were measured before and are not measured again")
    elif before:
        say(f"{measured.path} holds measurements of other images or settings; they are measured anew")
    yield from taken
    rows = evaluate(pairs, restorers, metrics, tile=args.tile, root=args.pairs, first=len(taken))
    hidden = not sys.stderr.isatty()
    with tqdm(total=len(pairs), initial=len(taken), unit="pair", disable=hidden, leave=False) as bar:
        for k in range(len(taken), len(pairs)):
            of_pair = list(itertools.islice(rows, each))
            measured.add(pairs.entry(k), of_pair)
            bar.update()
            yield of_pair


def _notes(restorers: list[Restorer]) -> tuple[str, ...]:
    """What the labels of the restorers say of themselves, once each."""
    return tuple(dict.fromkeys(f"{r.model}, {r.weights}: {r.label.weak}" for r in restorers if r.label))


def _print_json(rows: list[ImageRow]) -> None:
    for row in rows:
        record = asdict(row)
        del record["features"]
        values = record.pop("values")
        sys.stdout.write(json.dumps({**record, **values}) + "\n")
    sys.stdout.flush()
