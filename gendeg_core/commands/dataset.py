"""`dataset`: a folder of clean photos to a data set of pairs, in steps that can be repeated.

plan says what to make, run makes it (and goes on where it was stopped), status and audit look at it, export
takes it elsewhere, caption describes the photos first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.commands import UsageError, one_line, say
from gendeg_core.types import Degradation

if TYPE_CHECKING:
    from gendeg_core.dataset.captions import CaptionProgress
    from gendeg_core.dataset.plan import Plan
    from gendeg_core.dataset.run import RunProgress, ShardBuilder

DESCRIPTION = "Make a data set of clean and degraded photos."
ITEM_FIELDS = (
    *("item_id", "photo", "degradation", "mu", "sigma", "mu_obtained", "sigma_obtained", "seed"),
    *("weights", "accepted", "reason"),
)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("dataset", help="make a data set of pairs", description=DESCRIPTION)
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)
    for add in (_add_plan, _add_run, _add_status, _add_audit, _add_export, _add_caption):
        add(steps)


def _add_plan(steps: Any) -> None:
    parser = steps.add_parser("plan", help="decide what to make")
    add = parser.add_argument
    add("photos", metavar="PHOTOS", type=Path, help="folder of clean photos")
    add("--output", metavar="PLAN", type=Path, required=True, help="plan file to write")
    add("--captions", metavar="CSV", type=Path, help="captions; a column degradation names what photos show")
    add("--per-image", metavar="N", type=int, help="degraded images per photo (default: one of each)")
    add("--seed", type=int, default=0, help="everything random follows from it (default 0)")
    add("--degradations", metavar="NAMES", help=f"some of {','.join(Degradation)} (default all)")
    add("--size", metavar="PIXELS", type=int, default=512, help="short side; 0 as it is (default 512)")
    add("--engine", default="gendeg", help="gendeg, simulator, or a mix like gendeg=3,simulator=1")
    add("--free-every", metavar="N", type=int, default=20, help="every N-th item has mu and sigma free")
    add("--only-sigma-free", action="store_true", help="those keep mu from the histogram (the paper's way)")
    parser.set_defaults(run=run_plan_step)


def _add_run(steps: Any) -> None:
    parser = steps.add_parser("run", help="make it, or go on making it")
    add = parser.add_argument
    add("plan", metavar="PLAN", type=Path, help="plan file")
    add("--output", metavar="DIR", type=Path, required=True, help="folder of the data set")
    add("--engine", help="instead of what the plan says")
    add("--weights", metavar="DIR", type=Path, help="weights instead of the shipped ones")
    add("--steps", metavar="N", type=int, help="sampling steps of the gendeg engine")
    add("--photos", metavar="DIR", type=Path, help="where the photos are now, if they have moved")
    add("--mu-limits", metavar="LIMIT", nargs="+", default=[], help="of the filter, such as haze=0.02:0.5")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", metavar="N", type=int, help="processes (default: one per GPU or core)")
    where.add_argument("--ray", metavar="ADDRESS", help="run on this Ray cluster (auto, HOST:PORT, local)")
    add("--json", action="store_true", help="one line of JSON per item on standard output")
    parser.set_defaults(run=run_run_step)


def _add_status(steps: Any) -> None:
    parser = steps.add_parser("status", help="tell where it stands; exit status 0 if all is made")
    parser.add_argument("directory", metavar="DIR", type=Path)
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    parser.set_defaults(run=run_status_step)


def _add_audit(steps: Any) -> None:
    parser = steps.add_parser("audit", help="write a report on what was made")
    parser.add_argument("directory", metavar="DIR", type=Path)
    parser.add_argument("--output", metavar="HTML", type=Path, help="default: DIR/audit.html")
    parser.set_defaults(run=run_audit_step)


def _add_export(steps: Any) -> None:
    parser = steps.add_parser("export", help="as WebDataset, or to the Hugging Face Hub")
    add = parser.add_argument
    add("directory", metavar="DIR", type=Path)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--webdataset", metavar="OUT", type=Path, help="folder for tar files")
    where.add_argument("--hub", metavar="REPO", help="name of the data set on the Hub, owner/name")
    add("--shard-size", metavar="N", type=int, default=1000, help="pairs per tar file (default 1000)")
    parser.set_defaults(run=run_export_step)


def _add_caption(steps: Any) -> None:
    parser = steps.add_parser("caption", help="describe photos with an image-to-text model")
    add = parser.add_argument
    add("photos", metavar="PHOTOS", type=Path, help="folder of clean photos")
    add("--output", metavar="CSV", type=Path, required=True, help="captions file to write or go on with")
    add("--model", metavar="NAME", help="folder or Hub name of the model (default BLIP-2)")
    add("--batch", metavar="N", type=int, default=8, help="photos at once (default 8)")
    add("--device", help="for example cuda:0 (default: the best there is)")
    parser.set_defaults(run=run_caption_step)


def run_plan_step(args: argparse.Namespace) -> int:
    from gendeg_core.dataset.plan import PlanError, PlanSettings, list_photos, make_plan, write_plan

    chosen = args.degradations.split(",") if args.degradations else list(Degradation)
    try:
        settings = PlanSettings(
            photos=str(args.photos.resolve()),
            seed=args.seed,
            per_image=args.per_image,
            degradations=tuple(name.strip() for name in chosen),
            every_nth_free=args.free_every,
            only_sigma_free=args.only_sigma_free,
            size=args.size,
            engine=args.engine,
        )
        photos = list_photos(args.photos)
        captions, own, left_out = _captions(args.captions)
        kept = [photo for photo in photos if not _listed(photo, left_out)]
        if not kept:
            raise PlanError(f"{args.captions} marks every photo as unsuitable; correct its column suitable")
        table = make_plan(settings, captions, photos=kept, own=own)
        write_plan(args.output, table)
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error
    skipped = f" ({len(photos) - len(kept)} marked unsuitable)" if len(kept) < len(photos) else ""
    say(f"{args.output}: {table.num_rows} items from {len(kept)} photos{skipped}")
    bare = [photo for photo in kept if not _listed(photo, captions)] if args.captions is not None else []
    if bare:
        say(f"{args.captions} has no caption for {len(bare)} of them, such as {bare[0]}; check its names")
    return 0


def _captions(path: Path | None) -> tuple[dict[str, str], Mapping[str, Sequence[str]], set[str]]:
    """Captions, degradations that photos show already, and photos to leave out, from a captions file."""
    if path is None:
        return {}, {}, set()
    from gendeg_core.dataset.captions import (
        own_degradations,
        read_captions,
        unsuitable_photos,
        without_phrase,
    )

    captions = {name: without_phrase(caption) for name, caption in read_captions(path).items()}
    return captions, own_degradations(path), unsuitable_photos(path)


def _listed(photo: str, names: Collection[str]) -> bool:
    return photo in names or photo.rpartition("/")[2] in names


def run_run_step(args: argparse.Namespace) -> int:
    from gendeg_core.dataset.plan import PlanError
    from gendeg_core.dataset.run import RunError, run_plan

    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers {args.workers} leaves nobody to work; use 1 or more")
    plan, builder = _prepared_run(args)
    last = None
    try:
        for last in _shown(run_plan(plan, args.output, builder, workers=args.workers, ray=args.ray)):
            if args.json and last.finished is not None:
                _print_items(args.output, last.finished)
    except KeyboardInterrupt:
        stands = f"{last.done} of {last.total} items done" if last is not None else "nothing done yet"
        say(f"interrupted: {stands}, {_kept(last)} kept; repeat the command to go on")
        return 130
    except PlanError as error:
        raise UsageError(str(error)) from error
    except (RunError, OSError) as error:
        say(one_line(error))
        return 1
    assert last is not None, "a run says where it stands at least once"
    for sentence in last.failed.values():
        say(sentence)
    lost = f"; {len(last.failed)} photos could not be done, see above" if last.failed else ""
    say(f"{args.output}: {_kept(last)}, {last.rejected} of their items refused by the filter{lost}")
    return 1 if last.failed else 0


def _kept(progress: RunProgress | None) -> str:
    return f"{progress.shards_done} of {progress.shards} shards" if progress is not None else "no shard"


def _prepared_run(args: argparse.Namespace) -> tuple[Plan, ShardBuilder]:
    from gendeg_core.dataset.engines import EngineOptions
    from gendeg_core.dataset.filters import parse_mu_limits
    from gendeg_core.dataset.plan import PlanError, parse_engines, read_plan
    from gendeg_core.dataset.run import Plan, ShardBuilder
    from gendeg_core.synthesize import Sampling

    try:
        plan = read_plan(args.plan)
        if args.engine is not None:
            plan = plan.with_engine(args.engine)
        if args.photos is not None:
            plan = Plan(replace(plan.settings, photos=str(args.photos.resolve())), plan.table)
        sampling = Sampling(steps=args.steps)
        mu_limits = parse_mu_limits(args.mu_limits)
    except (PlanError, ValueError) as error:
        raise UsageError(str(error)) from error
    if "gendeg" not in parse_engines(plan.settings.engine) and (args.weights or args.steps):
        raise UsageError("the simulator engine takes no --weights and no --steps; drop them")
    if not Path(plan.settings.photos).is_dir():
        raise UsageError(f"the plan's photo folder {plan.settings.photos} is gone; name it with --photos")
    if args.weights is not None and not args.weights.is_dir():
        raise UsageError(f"there are no weights in {args.weights}; give a folder with converted weights")
    weights = None if args.weights is None else str(args.weights)
    return plan, ShardBuilder(str(args.output), EngineOptions(weights, sampling), mu_limits=mu_limits)


def _shown(run: Iterator[RunProgress]) -> Iterator[RunProgress]:
    """The same, with a progress bar on a terminal."""
    from tqdm import tqdm

    layout = "{n_fmt} of {total_fmt} items {percentage:3.0f}%|{bar}| {postfix}"
    with tqdm(total=0, disable=not sys.stderr.isatty(), bar_format=layout, leave=False) as bar:
        for progress in run:
            bar.total, bar.n = progress.total, progress.done
            left = progress.seconds_left
            bar.set_postfix_str(
                f"{progress.per_second:.2f} images/s, {tqdm.format_interval(left) if left else '?'} left"
            )
            yield progress


def _print_items(output: Path, shard: int) -> None:
    from gendeg_core.dataset.shards import shard_rows

    for row in shard_rows(output, shard, list(ITEM_FIELDS)):
        _print_json({name: row[name] for name in ITEM_FIELDS})


def run_status_step(args: argparse.Namespace) -> int:
    from gendeg_core.dataset.plan import PlanError
    from gendeg_core.dataset.status import describe, read_status

    try:
        status = read_status(args.directory)
    except PlanError as error:
        raise UsageError(str(error)) from error
    if args.json:
        _print_json(status.as_json())
    else:
        sys.stdout.write(describe(status) + "\n")
    return 0 if status.finished and not status.failed else 1


def run_audit_step(args: argparse.Namespace) -> int:
    from gendeg_core.dataset.audit import write_audit

    output = args.output or args.directory / "audit.html"
    try:
        numbers = write_audit(args.directory, output)
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error
    for check in numbers.checks:
        say(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.finding}")
    sys.stdout.write(f"{output}\n")
    return 0 if numbers.passed else 1


def run_export_step(args: argparse.Namespace) -> int:
    from gendeg_core.dataset.export import ExportError, export_webdataset, upload

    try:
        if args.hub is not None:
            sys.stdout.write(f"{upload(args.directory, args.hub)}\n")
        else:
            tars = export_webdataset(args.directory, args.webdataset, args.shard_size)
            sys.stdout.writelines(f"{tar}\n" for tar in tars)
    except ExportError as error:
        raise UsageError(str(error)) from error
    return 0


def run_caption_step(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from gendeg_core.dataset.captions import caption_folder

    progress: CaptionProgress | None = None
    try:
        with tqdm(total=0, disable=not sys.stderr.isatty(), unit=" photos", leave=False) as bar:
            for progress in caption_folder(args.photos, args.output, args.model, args.batch, args.device):
                bar.total = progress.total
                bar.update(progress.done - bar.n)
    except KeyboardInterrupt:
        done = f"{progress.done} of {progress.total}" if progress is not None else "no"
        say(f"interrupted: {done} photos done; repeat the command to go on")
        return 130
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error
    sys.stdout.write(f"{args.output}\n")
    unreadable = progress.unreadable.values() if progress is not None else ()
    for sentence in unreadable:
        say(sentence)
    return 1 if unreadable else 0


def _print_json(values: dict[str, Any]) -> None:
    from tqdm import tqdm

    tqdm.write(json.dumps(values), file=sys.stdout)
    sys.stdout.flush()
