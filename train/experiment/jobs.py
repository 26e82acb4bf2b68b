"""The training runs of the experiment, several at a time, each finished run kept."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Literal, TypeVar

import torch

from gendeg_core.restore.zoo import build
from train import restore
from train.common.restoration import Model, loss_function
from train.experiment.config import ExperimentConfig

Data = Literal["existing", "gends", "both"]
SHIPPED_AS: dict[Data, str] = {"existing": "existing", "both": "gends"}  # what weights trained so are called
J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        data: existing pairs, those of the generator alone, or both.
        synthetic: how many pairs of the generator; 0 for existing data.
    """

    model: Model
    data: Data
    seed: int
    synthetic: int

    @property
    def name(self) -> str:
        return f"{self.model}-{self.data}-{self.synthetic}-seed{self.seed}"


def sorts_of_data(config: ExperimentConfig) -> tuple[Data, ...]:
    """What the runs are trained on."""
    if config.only is not None:
        return (config.only,)
    return ("existing", "gends", "both") if config.generated_alone else ("existing", "both")


def shipped_data(config: ExperimentConfig) -> dict[Data, str]:
    """The sorts of data whose weights ship, and what these weights are called."""
    return {data: SHIPPED_AS[data] for data in sorts_of_data(config) if data in SHIPPED_AS}


def all_runs(config: ExperimentConfig) -> list[Run]:
    """Every run, those of the first seed first."""
    runs, sorts = [], sorts_of_data(config)
    for seed in config.seeds:
        for model in config.models:
            runs += [Run(model, data, seed, 0 if data == "existing" else config.pairs) for data in sorts]
        if config.scaling_model in config.models:
            counts = [count for count in config.scaling if count < config.pairs]
            runs += [Run(config.scaling_model, "both", seed, count) for count in counts]
    return runs


def start_of(config: ExperimentConfig, model: Model, data: Data) -> Path:
    """The weights that runs of this network and data go on from."""
    assert config.start is not None
    return config.start / f"{model}_{SHIPPED_AS[data]}"


def run_config(config: ExperimentConfig, run: Run, steps: int) -> restore.RestoreConfig:
    """The same recipe whatever the data."""
    pools = {
        "existing": [f"{config.data / 'existing'}"],
        "gends": [f"{config.data / 'gends'}@{run.synthetic}"],
        "both": [f"{config.data / 'existing'}", f"{config.data / 'gends'}@{run.synthetic}"],
    }[run.data]
    recipe = restore.embedded(run.model)
    start = None if config.start is None else start_of(config, run.model, run.data)
    return replace(
        recipe, output=config.output / "runs" / run.name, pools=tuple(pools), start=start,
        learning_rate=config.rate * recipe.learning_rate,
        held=str(config.data / "held"), size_of_model=config.size_of_model, scene=config.scene,
        size=config.size, batch=config.batch, steps=steps, seed=run.seed, loss=config.loss,
        caution=config.caution, workers=0, border=0, save_every=max(steps // 8, 1),
        sample_every=max(steps // 4, 1), log_every=max(steps // 50, 1),
    )  # fmt: skip


def seconds_per_step(config: ExperimentConfig, model: Model, repeats: int = 5) -> float:
    """Median processor time of one training step of this network, on one thread."""
    network = build(model, config.size_of_model).train()
    optimiser = torch.optim.AdamW(network.parameters())
    images = torch.rand(2, config.batch, 3, config.size, config.size, generator=torch.Generator())
    loss_of, times = loss_function(config.loss, config.caution), []
    for _ in range(repeats + 1):
        start = time.process_time()
        loss_of(network(images[0]), images[1], images[0]).backward()
        optimiser.step()
        optimiser.zero_grad()
        times.append(time.process_time() - start)
    return sorted(times[1:])[repeats // 2]


def parallel(work: Callable[[J], R], jobs: Sequence[J], processes: int) -> Iterator[tuple[J, R]]:
    """Results of the jobs as they come; in this process if `processes` is 0.

    An error in one job stops those that have not begun.
    """
    if processes == 0 or not jobs:
        yield from ((job, work(job)) for job in jobs)
        return
    # spawn: a forked child would inherit torch's thread pool in an unknown state
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_prepare_worker) as workers:
        futures = {workers.submit(work, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            workers.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """One thread; and never outlive the parent, whose next run would find us writing into its folders."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None, "only called in worker processes"

    def leave() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def weights_of(config: ExperimentConfig, run: Run) -> Path:
    """Where a finished run keeps its weights."""
    return config.output / "runs" / run.name / "weights"
