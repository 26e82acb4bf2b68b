"""`project`: tables of embeddings to a map, and how far their sets overlap as numbers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.commands import UsageError, one_line

if TYPE_CHECKING:
    from gendeg_core.embed.joining import JoinedTable
    from gendeg_core.embed.numbers import Numbers
    from gendeg_core.embed.overlap import Overlap
    from gendeg_core.embed.probes import ValueProbe
    from gendeg_core.embed.projection import MapSettings, Points

DESCRIPTION = """Make a t-SNE map of the embeddings in one or more tables written by `embed`, and print how
far their sets overlap and what a linear read-out finds in them."""

COLUMNS = ("degradation", "content")
COLOURS = ("set", "degradation", "mu", "sigma", "dataset")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("project", help="map embeddings, measure overlap", description=DESCRIPTION)
    add = parser.add_argument
    add("tables", metavar="EMBEDDINGS", type=Path, nargs="+", help=".parquet files that `embed` wrote")
    add("--output", metavar="MAP", type=Path, required=True, help="table of the map to write, .parquet")
    add("--figure", metavar="FILE", type=Path, help="picture of the map to write, .png, .pdf or .svg")
    add("--column", choices=COLUMNS, default="degradation", help="which embedding (default degradation)")
    add(
        "--colour",
        choices=COLOURS,
        help="of the figure (default: set if there are several, else degradation)",
    )
    add("--perplexity", type=float, help="neighbours a point listens to (default 30, less for few photos)")
    add("--metric", default="cosine", help="cosine (default) or euclidean")
    add("--iterations", type=int, default=350, help="of t-SNE after the early ones (default 350)")
    add("--engine", default="opentsne", help="opentsne (default) or sklearn")
    add("--seed", type=int, default=0, help="of the map, the bootstrap and the splits (default 0)")
    add("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status 0, 1 or 130.

    Raises:
        UsageError: the arguments cannot be used.
    """
    settings, joined = _prepared(args)
    from gendeg_core.embed.numbers import numbers_of

    try:
        points = _points(args, joined, settings)
        numbers = numbers_of(joined, getattr(joined.table, args.column), seed=args.seed)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: no map written\n")
        return 130
    try:
        _write(args, joined, points, settings)
    except OSError as error:
        sys.stderr.write(f"{one_line(error)}\n")
        return 1
    sys.stdout.write(_as_json(joined, numbers) if args.json else _as_text(args, joined, numbers))
    return 0


def _prepared(args: argparse.Namespace) -> tuple[MapSettings, JoinedTable]:
    """What is cheap to refuse first, then the embeddings."""
    if args.output.suffix != ".parquet":
        raise UsageError(f"{args.output} does not end in .parquet; choose such a name")
    if args.output.resolve() in {path.resolve() for path in args.tables}:
        raise UsageError(f"{args.output} is itself one of the tables; choose another --output")
    for path in args.tables:
        if not path.is_file():
            raise UsageError(f"{path} is not a file; name a table that `embed` wrote")
    for path in filter(None, (args.output, args.figure)):
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent} is no folder; make it first")
    from gendeg_core.embed.figures import figure_format
    from gendeg_core.embed.joining import join_tables
    from gendeg_core.embed.projection import MapSettings
    from gendeg_core.embed.table import read_table

    try:
        if args.figure:
            figure_format(args.figure)
        settings = MapSettings(
            perplexity=args.perplexity,
            metric=args.metric,
            iterations=args.iterations,
            seed=args.seed,
            engine=args.engine,
        )
        joined = join_tables([read_table(path) for path in args.tables], [path.stem for path in args.tables])
        settings.perplexity_for(len(joined.table))
    except (OSError, ValueError) as error:
        raise UsageError(one_line(error)) from error
    return settings, joined


def _points(args: argparse.Namespace, joined: JoinedTable, settings: MapSettings) -> Points:
    """The finished map, with a progress bar on a terminal."""
    from tqdm import tqdm

    from gendeg_core.embed.projection import project

    try:
        frames = project(getattr(joined.table, args.column), settings)
    except ValueError as error:
        raise UsageError(str(error)) from error
    total = settings.early + settings.iterations
    last = None
    with tqdm(total=total, disable=not sys.stderr.isatty(), leave=False) as bar:
        for last in frames:
            bar.update(last.done - bar.n)
    assert last is not None, "every map has a frame"
    return last.points


def _write(args: argparse.Namespace, joined: JoinedTable, points: Points, settings: MapSettings) -> None:
    import numpy as np

    from gendeg_core.embed.figures import figure_format, map_figure
    from gendeg_core.embed.joining import write_map

    write_map(args.output, joined, points, column=args.column, settings=settings)
    if not args.figure:
        return
    several = len(set(joined.sets)) > 1
    colour = args.colour or ("set" if several else "degradation")
    values = joined.kinds if colour == "degradation" else getattr(joined.table, colour)
    args.figure.write_bytes(
        map_figure(
            points,
            np.asarray(values) if colour in ("mu", "sigma") else values,
            colour_label=colour,
            shapes=joined.sets if several and colour != "set" else None,
            file_format=figure_format(args.figure),
        )
    )


def _as_text(args: argparse.Namespace, joined: JoinedTable, numbers: Numbers) -> str:
    lines = [f"{path}" for path in (args.output, args.figure) if path]
    lines.append(f"{len(joined.table)} photos, weights {joined.table.weights or 'unnamed'}")
    for (first, second), measured in numbers.overlaps.items():
        lines += _overlap_lines(first, second, measured)
    if kinds := numbers.kinds:
        lines.append(
            f"degradation by a linear probe: {kinds.accuracy:.3f} of {kinds.held_out} held-out photos right"
        )
    if mu := numbers.mu:
        lines += _mu_lines(mu)
    return "\n".join([*lines, *numbers.remarks]) + "\n"


def _overlap_lines(first: str, second: str, measured: Overlap) -> list[str]:
    from gendeg_core.embed.overlap import MEANINGS

    size = f"{measured.photos} photos each, {measured.explained:.0%} of the variance"
    lines = [f"overlap of {first} and {second}, {size}"]
    for name, meaning in MEANINGS.items():
        value = str(getattr(measured, name))
        lines.append(f"  {meaning.label:<44} {value:<26} same {meaning.same}, apart {meaning.apart}")
    return lines


def _mu_lines(mu: ValueProbe) -> list[str]:
    held_out = f"on {mu.held_out} held-out photos"
    lines = [f"mu by a linear probe: R2 {mu.r2:.3f}, Spearman {mu.spearman:.3f} {held_out}"]
    within = [f"{name.replace('_', ' ')} {value:.2f}" for name, value in mu.spearman_within.items()]
    return [*lines, f"  Spearman within one degradation: {', '.join(within)}"] if within else lines


def _as_json(joined: JoinedTable, numbers: Numbers) -> str:
    from gendeg_core.embed.numbers import record_of

    return json.dumps(record_of(joined, numbers)) + "\n"
