"""The tables of the experiment in the form of the paper's tables 1 to 3, every number also as CSV."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gendeg_core.generate.loading import SHIPPED
from gendeg_core.weights import folder_identity, read_record
from train.experiment.config import EXISTING, ExperimentConfig, command_of
from train.experiment.data import generated_counts
from train.experiment.figure import draw_scaling
from train.experiment.jobs import Data, Run, shipped_data, sorts_of_data, start_of
from train.experiment.statistics import (
    METRICS,
    Column,
    Results,
    Summary,
    full_counts,
    mean_columns,
    summarise,
    unseen_columns,
    within_columns,
)
from train.experiment.testing import Score

NAMES: dict[Data, str] = {"existing": "existing", "gends": "GenDeg only", "both": "GenDS (both)"}


def write_report(
    config: ExperimentConfig,
    folder: Path,
    steps: int,
    untouched: Sequence[Score],
    runs: Mapping[Run, Sequence[Score]],
) -> None:
    """Write tables.md, tables.csv, images.csv, scaling.png and experiment.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(untouched, runs)
    facts = experiment_facts(config, steps)
    figure = draw_scaling(config, results, folder / "scaling.png")
    _write(folder / "tables.md", markdown(config, results, facts, figure))
    _write(folder / "tables.csv", long_table(config, results))
    _write(folder / "images.csv", per_image(results, list(runs)))
    _write(folder / "experiment.json", json.dumps(facts, indent=1) + "\n")


def experiment_facts(config: ExperimentConfig, steps: int) -> dict[str, object]:
    """What every number depends on; of paths only the last name."""
    options = {
        name: value.name if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
    }
    generator = config.generator or SHIPPED
    saw = config.generator_saw or read_record(generator).data
    return {
        "command": command_of(config, steps),
        "options": options,
        "steps": steps,
        "start": start_identities(config),
        "hardware": config.hardware or hardware(),
        "generator": folder_identity(generator),
        "generator_saw": saw,
        "generated": generated_counts(config),
        "existing_families": {kind.value: name for kind, name in EXISTING.items()},
        "versions": installed_versions(),
    }


def start_identities(config: ExperimentConfig) -> list[str]:
    """The weights that the runs went on from; none if they began at random."""
    if config.start is None:
        return []
    return [
        folder_identity(start_of(config, model, data))
        for model in config.models
        for data in shipped_data(config)
    ]


def installed_versions() -> dict[str, str]:
    """Python, and the packages that pixels and numbers come from."""
    packages = ("torch", "diffusers", "timm", "numpy", "pillow")
    found = {"python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in packages}


def hardware() -> str:
    return f"{platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}"


def _begun(start: Sequence[str]) -> str:
    """What the runs went on from."""
    return f" They went on from {', '.join(start)}." if start else ""


def _which(every: int) -> str:
    """The photos that existing data shows."""
    rare = {1: "all training photos.", 2: "every second training photo."}
    return rare.get(every, f"one of {every} training photos.")


def _painted(config: ExperimentConfig, counts: Mapping[str, int]) -> str:
    """What the pairs of the generator are."""
    text = f"{config.pairs} crops of {counts['distinct']} different pairs"
    if counts["distinct"] < counts["accepted"]:
        text += f" out of {counts['accepted']}"
    return f"{text} that the generator made of {counts['photos']} training photos"


def markdown(config: ExperimentConfig, results: Results, facts: Mapping[str, Any], figure: bool) -> str:
    """The report for readers."""
    families = ", ".join(f"{kind.label} {name}" for kind, name in EXISTING.items())
    text = [
        "# Restoration with and without generated data",
        f"Written by `{facts['command']}`; do not edit. Cells are PSNR in dB / SSIM on RGB "
        "images rounded to 8 bits, means over images and seeds; gains come with "
        "the 95 % interval of the bootstrap over images and, in parentheses, those of each seed, PSNR first; "
        "in bold where the interval excludes 0 and every seed agrees. Every "
        "number with its interval and its seeds is in `tables.csv`, every image in `images.csv`. Compare "
        "trends with the paper, not levels: it reports LPIPS and FID of far larger networks and data.",
        f"* Existing data: {config.pairs} simulated pairs of one family per degradation ({families}) on "
        f"{_which(config.existing_every)} GenDeg only: {_painted(config, facts['generated'])}. GenDS: both.",
        f"* The generator, {facts['generator']}, was itself trained on: {facts['generator_saw']}",
        f"* Networks: {config.size_of_model} size, {facts['steps']} steps of {config.batch} crops of "
        f"{config.size} pixels, the same recipe for all data; seeds {', '.join(map(str, config.seeds))}."
        + _begun(facts["start"]),
        f"* Tests: {config.test_photos} held-out photos per degradation at {config.scene} x {config.scene} "
        "under the existing family (within), and under the other families (left-out); real pairs: the "
        f"middle {config.test_size} x {config.test_size} pixels of each. Images go through in one piece.",
        f"* Hardware: {facts['hardware']}.",
    ]
    counts = full_counts(config)
    compared = list(shipped_data(config))
    parts: tuple[tuple[str, list[Column], Sequence[Data]], ...] = (
        ("Table 1: degradations not in the existing data", unseen_columns(results), compared),
        ("Table 2: within the distribution of the existing data", within_columns(results), compared),
        (
            "Table 3: source of the training data, means over degradations",
            mean_columns(results),
            sorts_of_data(config),
        ),
    )
    for title, columns, data in parts:
        text += [f"## {title}", _table(config, results, columns, data, counts)]
    if config.only is None:
        text += ["## Gains of GenDS over existing data"]
        text += [_gains(config, results, [*unseen_columns(results), *within_columns(results)], counts)]
    if figure:
        text += [
            f"## Number of generated pairs ({config.scaling_model})",
            "![PSNR and SSIM against the number of generated pairs](scaling.png)",
        ]
    return "\n\n".join(text).replace("\n\n* ", "\n* ") + "\n"


def _table(
    config: ExperimentConfig,
    results: Results,
    columns: Sequence[Column],
    data: Sequence[Data],
    counts: Mapping[Data, int],
) -> str:
    """One line per part of the tests, one column per network and training data."""
    trained: list[tuple[str, Data]] = [(model, sort) for model in config.models for sort in data]
    header = ["test", "images", "degraded input", *(f"{model}, {NAMES[sort]}" for model, sort in trained)]
    chosen = [[], *(results.seeds(model, sort, counts[sort]) for model, sort in trained)]
    return _lines(header, [[c.name, str(c.images), *(_cell(results, r, c) for r in chosen)] for c in columns])


def _gains(
    config: ExperimentConfig, results: Results, columns: Sequence[Column], counts: Mapping[Data, int]
) -> str:
    """One line per part of the tests, one column per network."""
    runs = [
        (results.seeds(model, "existing", counts["existing"]), results.seeds(model, "both", counts["both"]))
        for model in config.models
    ]
    lines = [[c.name, str(c.images), *(_gain(results, *pair, c) for pair in runs)] for c in columns]
    return _lines(["test", "images", *config.models], lines)


def _lines(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines])


def _cell(results: Results, runs: Sequence[Run], column: Column) -> str:
    psnr, ssim = (summarise(results.values(runs, metric), column).interval.mean for metric in METRICS)
    return f"{psnr:.2f} / {ssim:.3f}"


def _gain(results: Results, before: Sequence[Run], after: Sequence[Run], column: Column) -> str:
    parts = []
    for metric, digits in (("psnr", 2), ("ssim", 3)):
        summary = gain_of(results, before, after, metric, column)
        gain, seeds = summary.interval, summary.seeds
        text = f"{gain.mean:+.{digits}f}"
        if column.images > 1:
            text += f" [{gain.low:+.{digits}f}, {gain.high:+.{digits}f}]"
        if len(seeds) > 1:
            text += f" ({', '.join(f'{seed:+.{digits}f}' for seed in seeds)})"
        sure = min(gain.low, *seeds) > 0 or max(gain.high, *seeds) < 0
        parts.append(f"**{text}**" if sure else text)
    return " / ".join(parts)


def gain_of(
    results: Results, before: Sequence[Run], after: Sequence[Run], metric: str, column: Column
) -> Summary:
    """By how much `after` is better, seed by seed and image by image."""
    return summarise(results.values(after, metric) - results.values(before, metric), column)


def long_table(config: ExperimentConfig, results: Results) -> str:
    """One line per number: mean, interval over images, and the mean of each seed."""
    lines: list[list[object]] = [
        ["model", "data", "synthetic", "test", "metric", "images", "mean", "low", "high"],
    ]
    lines[0] += [f"seed{seed}" for seed in config.seeds]
    columns = [*within_columns(results)[:-1], *unseen_columns(results), *mean_columns(results)]
    columns = list({column.name: column for column in columns}.values())
    for column in columns:
        for metric in METRICS:
            for name, summary in _all_summaries(config, results, metric, column):
                bounds = summary.interval
                numbers = bounds.mean, bounds.low, bounds.high, *summary.seeds
                facts = [*name, column.name, metric, column.images]
                lines.append([*facts, *(f"{number:.5g}" for number in numbers)])
    return _csv(lines)


def _all_summaries(
    config: ExperimentConfig, results: Results, metric: str, column: Column
) -> list[tuple[tuple[object, ...], Summary]]:
    found: list[tuple[tuple[object, ...], Summary]] = [
        (("input", "", ""), summarise(results.values([], metric), column))
    ]
    for model in config.models:
        runs = {key: results.seeds(model, *key) for key in results.kinds(model)}
        for key, same in runs.items():
            found.append(((model, *key), summarise(results.values(same, metric), column)))
        for key in [key for key in runs if key[0] != "existing" and config.only is None]:
            gain = gain_of(results, runs["existing", 0], runs[key], metric, column)
            found.append(((model, f"{key[0]} - existing", key[1]), gain))
    return found


def per_image(results: Results, runs: Sequence[Run]) -> str:
    """One line per test image, one pair of columns per run."""
    header = ["test", "degradation", "source", "name", "input psnr", "input ssim"]
    header += [f"{run.name} {metric}" for run in runs for metric in METRICS]
    tables = [
        results.values(chosen, metric)[0] for chosen in ([], *([r] for r in runs)) for metric in METRICS
    ]
    lines: list[list[object]] = [list(header)]
    for place, score in enumerate(results.images):
        numbers = [f"{values[place]:.4g}" for values in tables]
        lines.append([score.test, score.degradation, score.source, score.name, *numbers])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text)
    os.replace(temporary, path)
