"""From finished runs to the weights that ship: half precision, a label, a record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gendeg_core.restore.loading import Label, load_restorer, read_label, write_label
from gendeg_core.restore.zoo import network_class
from gendeg_core.types import Degradation
from gendeg_core.weights import read_record, write_record
from train.common.network_folder import save_network
from train.experiment.config import ExperimentConfig, command_of
from train.experiment.jobs import Run, shipped_data, start_of, weights_of
from train.experiment.report import experiment_facts
from train.experiment.statistics import METRICS, Results, full_counts, mean_columns
from train.experiment.testing import REAL, Score


def export_weights(
    config: ExperimentConfig,
    folder: Path,
    steps: int,
    untouched: Sequence[Score],
    runs: Mapping[Run, Sequence[Score]],
) -> None:
    """Put the weights of the first seed into `folder`/MODEL_existing and `folder`/MODEL_gends."""
    results = Results(untouched, runs)
    counts = full_counts(config)
    for model in config.models:
        for data, name in shipped_data(config).items():
            (run,) = (r for r in results.seeds(model, data, counts[data]) if r.seed == config.seeds[0])
            partial, final = folder / f".{model}_{name}.partial", folder / f"{model}_{name}"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(half_weights(config, run), partial)
            network = load_restorer(model, partial, torch.device("cpu")).net
            start = None if config.start is None else start_of(config, model, data)
            before = None if start is None else read_label(start)
            label = Label(
                model=model,
                training=name,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
                steps=(before.steps if before else 0) + steps,
                samples=(before.samples if before else 0) + steps * config.batch,
                data=describe_data(config, name),
                weak=weaknesses(results, run),
            )
            write_label(partial, label)
            recipe = [] if start is None else read_record(start).recipe
            write_record(partial, record_of(config, results, run, label, steps, recipe))
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
            print(f"{final}: {label.weak}", flush=True)


def half_weights(config: ExperimentConfig, run: Run) -> Path:
    """The weights of a finished run as they ship, in half precision."""
    trained = weights_of(config, run)
    folder = trained.with_name("half")
    if not folder.is_dir():
        network = network_class(run.model).from_pretrained(trained)
        network.register_to_config(_name_or_path="")  # where this machine kept it is of no use elsewhere
        save_network(network.half(), folder)
    return folder


def describe_data(config: ExperimentConfig, name: str) -> str:
    """What weights called `name` were trained on."""
    existing = f"{config.pairs} simulated pairs, one family per degradation"
    return existing if name == "existing" else f"{existing}, and {config.pairs} pairs painted by GenDeg"


def weaknesses(results: Results, run: Run) -> str:
    """One sentence on where the restored image is no better than the degraded one, by PSNR or SSIM."""
    simulated, real = [], []
    for kind in Degradation:
        column = results.column(kind, test="within", by=(), degradation=kind)
        if column.images and _loses(results, run, column.groups[0]):
            simulated.append(kind.label)
    for degradation, source in dict.fromkeys(
        (s.degradation, s.source) for s in results.images if s.test == REAL
    ):
        column = results.column("", test=REAL, by=(), degradation=degradation, source=source)
        if _loses(results, run, column.groups[0]):
            real.append(f"{Degradation(degradation).label} ({source})")
    parts = [
        f"{where}: {', '.join(names)}"
        for where, names in (("held simulated pairs", simulated), ("real pairs", real))
        if names
    ]
    small = "Small and briefly trained."
    if not parts:
        return f"{small} Better than the degraded input in PSNR and SSIM wherever it was tested."
    return f"{small} In PSNR or SSIM no better than the degraded input on {'; and on '.join(parts)}."


def _loses(results: Results, run: Run, places: Any) -> bool:
    return any(
        results.values([run], metric)[0, places].mean() <= results.values([], metric)[0, places].mean()
        for metric in METRICS
    )


def record_of(
    config: ExperimentConfig, results: Results, run: Run, label: Label, steps: int, recipe: Sequence[str]
) -> dict[str, Any]:
    """The record that stands beside shipped weights; `recipe` made the weights that the runs started from."""
    facts = experiment_facts(config, steps)
    command = f"{command_of(config, steps)} --weights {'runs' if config.start else 'assets'}/weights"
    quality: dict[str, Any] = {"command": command, "versions": facts["versions"], "seed": run.seed}
    for column in mean_columns(results):
        for metric in METRICS:
            for who, chosen in (("restored", [run]), ("input", [])):
                values = results.values(chosen, metric)[0]
                mean = sum(values[group].mean() for group in column.groups) / len(column.groups)
                quality.setdefault(column.name, {})[f"{metric}_{who}"] = round(float(mean), 4)
    return {
        "recipe": [*recipe, command],
        "data": f"{label.data}; crops of {config.size} pixels. Generator {facts['generator']}, itself "
        f"trained on: {facts['generator_saw']}",
        "hardware": f"{facts['hardware']}; {label.steps} steps of {config.batch} on one core",
        "samples": label.samples,
        "quality": quality,
        "weak": label.weak,
    }
