"""`degrade`: a photo or a folder tree of photos, degraded as asked, measured, written with their settings.

A folder run can be killed at any time and repeated: what is finished (same photo, same settings) is skipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.commands import UsageError, one_line, say
from gendeg_core.commands.batch import Record, digest, finished_settings, json_line, report, run_jobs
from gendeg_core.commands.plan import Job, plan_jobs
from gendeg_core.types import MU_MAX, SIGMA_MAX, Degradation, DegradationRequest, DegradationResult, Progress

if TYPE_CHECKING:
    from gendeg_core.images import Photo
    from gendeg_core.synthesize import Engine, Sampling

DESCRIPTION = """Degrade photos as asked and report the mu and sigma that were really obtained."""
_OBTAINED = ("mu_obtained", "sigma_obtained", "weights")
_KNOWN = ", ".join(Degradation)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "degrade", help="degrade a photo or a folder of photos", description=DESCRIPTION
    )
    add = parser.add_argument
    add("source", metavar="SRC", type=Path, help="a photo, or a folder whose structure is kept")
    add("--output", metavar="DST", required=True, help="file or folder for a photo, folder for a folder")
    add("--degradation", required=True, type=_degradation, metavar="NAME", help=f"one of {_KNOWN}")
    add("--mu", type=float, help=f"mean of the degradation map, 0 to {MU_MAX}; drawn when left out")
    add("--sigma", type=float, help=f"its standard deviation, 0 to {SIGMA_MAX}; drawn when left out")
    add("--seed", type=int, default=0, help="everything random follows from it (default 0)")
    add("--caption", default="", help="what the photo shows")
    add("--engine", default="gendeg", choices=("gendeg", "simulator"), help="default gendeg")
    add(
        "--weights", type=Path, metavar="DIR", help="weights of the gendeg engine instead of the shipped ones"
    )
    add("--steps", type=int, metavar="N", help="sampling steps of the gendeg engine")
    add("--json", action="store_true", help="one line of JSON per photo on standard output")
    parser.set_defaults(run=run)


def _degradation(name: str) -> Degradation:
    try:
        return Degradation.parse(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status 0, 1 or 130.

    Raises:
        UsageError: the arguments cannot be used.
    """
    sampling = _check_arguments(args)
    failures: list[str] = []
    jobs = plan_jobs(args.source, args.output, lambda sentence: report(sentence, failures))
    run_of = _Run(args, _load_engine(args), sampling)

    def work(job: Job, show: Callable[[float], None]) -> Record:
        return _degrade_file(run_of, job, show)

    return run_jobs(jobs, failures, work, json_line if args.json else _line)


def _check_arguments(args: argparse.Namespace) -> Sampling:
    """Refuse numbers out of range before anything is loaded."""
    from gendeg_core.synthesize import Sampling

    if args.engine == "simulator" and args.steps is not None:
        raise UsageError("the simulator engine takes no steps; drop --steps")
    try:
        DegradationRequest(args.degradation, args.mu or 0.0, args.sigma or 0.0, args.seed)
        return Sampling(steps=args.steps)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _load_engine(args: argparse.Namespace) -> Engine:
    from gendeg_core.synthesize import load_engine

    try:
        return load_engine(args.engine, args.weights)
    except (ValueError, OSError) as error:
        raise UsageError(one_line(error)) from error


@dataclass(frozen=True)
class _Run:
    """What all photos of one command share."""

    args: argparse.Namespace
    engine: Engine
    sampling: Sampling

    def request(self, job: Job) -> DegradationRequest:
        """What is asked of one photo; it follows from the run's seed and the photo's path only."""
        from gendeg_core.seeds import sample_seed

        args = self.args
        seed = args.seed if job.item is None else sample_seed(args.seed, job.item)
        mu, sigma = _intensity(args.degradation, args.mu, args.sigma, seed)
        return DegradationRequest(args.degradation, mu, sigma, seed, args.caption)

    def settings(self, job: Job, request: DegradationRequest) -> Record:
        """Everything the picture follows from, as stored inside its file."""
        return {
            "degradation": request.degradation.value,
            "mu": request.mu,
            "sigma": request.sigma,
            "seed": request.seed,
            "caption": request.caption,
            "engine": self.engine.name,
            "engine_weights": self.engine.weights,
            "steps": self.sampling.steps,
            "photo": digest(job.source),
        }


def _intensity(
    degradation: Degradation, mu: float | None, sigma: float | None, seed: int
) -> tuple[float, float]:
    """mu and sigma as asked; what was left out comes from the published histogram."""
    import numpy as np

    from gendeg_core.statistics import draw_intensity, draw_mu_given_sigma, draw_sigma_given_mu

    rng = np.random.default_rng(seed)
    if mu is None and sigma is None:
        drawn = draw_intensity(degradation, rng)
        return float(drawn.mu), float(drawn.sigma)
    if sigma is None:
        assert mu is not None
        return mu, draw_sigma_given_mu(degradation, mu, rng)
    return draw_mu_given_sigma(degradation, sigma, rng) if mu is None else mu, sigma


def _degrade_file(run_of: _Run, job: Job, show: Callable[[float], None]) -> Record:
    from gendeg_core.images import read_photo, write_photo

    start = time.perf_counter()
    request = run_of.request(job)
    settings = run_of.settings(job, request)
    if job.item is not None and (stored := finished_settings(job, settings, _OBTAINED)):
        say(f"{job.output} is there already, made with the same settings; skipped")
        return _record(job, stored, time.perf_counter() - start)
    photo = read_photo(job.source)
    for warning in photo.warnings:
        say(warning)
    result = _run_engine(run_of, photo, request, show)
    settings |= {
        "mu_obtained": float(result.mu_obtained),
        "sigma_obtained": float(result.sigma_obtained),
        "weights": result.weights,
    }
    write_photo(job.output, result.degraded, photo, settings=settings)
    return _record(job, settings, time.perf_counter() - start)


def _run_engine(
    run_of: _Run, photo: Photo, request: DegradationRequest, show: Callable[[float], None]
) -> DegradationResult:
    for item in run_of.engine.run(photo.pixels, request, run_of.sampling):
        if isinstance(item, DegradationResult):
            return item
        assert isinstance(item, Progress)
        show(item.done / item.total)
    raise AssertionError("an engine yields its result last")


def _record(job: Job, settings: Record, seconds: float) -> Record:
    copied = ("degradation", "mu", "sigma", "mu_obtained", "sigma_obtained", "seed", "weights")
    return {
        "input": str(job.source),
        "output": str(job.output),
        **{key: settings[key] for key in copied},
        "seconds": round(seconds, 3),
    }


def _line(record: Record) -> str:
    return (
        f"{record['output']}: {record['degradation']}, "
        f"mu {record['mu']:.3f} asked {record['mu_obtained']:.3f} obtained, "
        f"sigma {record['sigma']:.3f} asked {record['sigma_obtained']:.3f} obtained, "
        f"seed {record['seed']}, {record['seconds']:.1f} s"
    )
