"""Does generated data help restorers with degradations they were not trained on? The experiment, in small.

GenDeg (arXiv 2411.17687), section 4 and tables 1 to 3: NAFNet, PromptIR and a Swin network, each trained on
existing data, on what the generator makes, and on both, with the same recipe, steps and seeds; tested within
the distribution, on simulator families left out of the existing data, and on real pairs.

    python -m train.restore_experiment --preset embedded --photos PHOTOS --captions captions.csv \\
        --real-pairs PAIRS --output runs/restoration --results assets/experiments/restoration

Run it again with the same options to continue after an interruption.
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path

import torch

from train import restore
from train.common.checkpoint import claim_folder
from train.common.presets import start
from train.experiment.config import ExperimentConfig, embedded, tiny
from train.experiment.data import make_data
from train.experiment.export import export_weights, half_weights
from train.experiment.jobs import Run, all_runs, parallel, run_config, seconds_per_step, weights_of
from train.experiment.report import write_report
from train.experiment.testing import read_scores, scores, scores_of, write_scores

PRESETS = {"tiny": tiny, "embedded": embedded}
FREE = {"output", "results", "weights", "jobs", "hardware", "minutes"}


def main(config: ExperimentConfig) -> None:
    claim_folder(config.output, config, FREE)
    torch.set_num_threads(1)
    make_data(config)
    steps = settle_steps(config)
    runs = all_runs(config)
    todo = [run for run in runs if not scores_file(config, run).exists()]
    print(f"{len(todo)} of {len(runs)} runs to do, {steps} steps each", flush=True)
    begin = time.perf_counter()
    work = functools.partial(train_and_test, config, steps)
    for count, (run, _) in enumerate(parallel(work, todo, config.jobs), 1):
        left = (time.perf_counter() - begin) / count * (len(todo) - count)
        print(f"{run.name} done, {len(todo) - count} left, about {left / 60:.0f} min", flush=True)
    untouched = config.output / "input.csv"
    if not untouched.exists():
        write_scores(untouched, scores(config, lambda image: image))
    found = {run: read_scores(scores_file(config, run)) for run in runs}
    results = config.results or config.output
    write_report(config, results, steps, read_scores(untouched), found)
    if config.weights is not None:
        export_weights(config, config.weights, steps, read_scores(untouched), found)


def scores_file(config: ExperimentConfig, run: Run) -> Path:
    return config.output / "runs" / run.name / "scores.csv"


def train_and_test(config: ExperimentConfig, steps: int, run: Run) -> None:
    """One run from where it stands to its scores."""
    if not weights_of(config, run).is_dir():
        restore.main(run_config(config, run, steps))
    half = half_weights(config, run)
    write_scores(scores_file(config, run), scores_of(config, run.model, half))


def settle_steps(config: ExperimentConfig) -> int:
    """Steps of every run: those asked for, or as many as fit into the minutes, measured once."""
    file = config.output / "steps.json"
    if file.exists():
        return json.loads(file.read_text())["steps"]
    measured: dict[str, float] = {}
    steps = config.steps
    if not steps:
        work = functools.partial(seconds_per_step, config)
        measured = dict(parallel(work, config.models, config.jobs))
        steps = max(round(60 * config.minutes * len(measured) / sum(measured.values())), 1)
    temporary = file.with_suffix(".partial")
    temporary.write_text(json.dumps({"steps": steps, "seconds_per_step": measured}))
    os.replace(temporary, file)
    return steps


if __name__ == "__main__":
    start(main, PRESETS, __doc__)
