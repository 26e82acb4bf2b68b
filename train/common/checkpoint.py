"""Checkpoints that survive kill -9: written beside the last one, renamed when complete.

Everything random in the training scripts is a function of (seed, step), so weights, optimiser, EMA and the
step number are all there is to save, and a resumed run repeats the losses of an uninterrupted one (on a CPU
to the last bit; on a GPU as far as its kernels repeat themselves).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from train.common.errors import UsageError

LAST, PREVIOUS, PARTIAL = "checkpoint", "checkpoint.previous", "checkpoint.partial"

# What may differ between the runs before and after an interruption: where and how often something is written,
# how the same numbers are computed, how long the run goes on, and what is made of the result.
FREE = {"output", "workers", "steps", "tensorboard", "compile", "gradient_checkpointing"}
FREE |= {"log_every", "save_every", "sample_every", "keep"}


def claim_run(run: Path, config: Any, accelerator: Any) -> None:
    """Write `config.json` into the run folder, unless the folder holds a run of another configuration.

    Raises:
        UsageError: names the options that differ.
    """
    refuse_other_run(run, config)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        run.mkdir(parents=True, exist_ok=True)
        _write_configuration(run, config)


def refuse_other_run(run: Path, config: Any) -> None:
    """Raise UsageError if the folder holds pairs or a checkpoint made under another configuration."""
    if any((run / name).exists() for name in (LAST, PREVIOUS, "pool")):
        _refuse_changes(run, config, FREE)


def claim_folder(folder: Path, config: Any, free: Collection[str]) -> None:
    """Write `config.json` into the folder, unless it holds work of another configuration.

    Args:
        free: options that may change while the work goes on.

    Raises:
        UsageError: names the options that differ.
    """
    _refuse_changes(folder, config, free)
    folder.mkdir(parents=True, exist_ok=True)
    _write_configuration(folder, config)


def _refuse_changes(folder: Path, config: Any, free: Collection[str]) -> None:
    stored = folder / "config.json"
    if not stored.exists():
        return
    before, now = json.loads(stored.read_text()), json.loads(configuration_text(config))
    changed = [name for name in now if name in before.keys() - free and before[name] != now[name]]
    if changed:
        differences = ", ".join(f"{name} was {before[name]} and is now {now[name]}" for name in changed)
        raise UsageError(
            f"{folder} holds a run where {differences}; repeat its options or give another --output"
        )


def _write_configuration(folder: Path, config: Any) -> None:
    temporary = folder / "config.json.partial"
    temporary.write_text(configuration_text(config))
    os.replace(temporary, folder / "config.json")


def configuration_text(config: Any) -> str:
    """A configuration as JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, default=str)


def save_checkpoint(run: Path, accelerator: Any, step: int, ema: dict[str, Any] | None = None) -> None:
    """Save the state of models and optimisers known to `accelerator`, the EMA and the step number."""
    partial = run / PARTIAL
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial), safe_serialization=True)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        torch.save({"step": step, "ema": ema}, partial / "progress.pt")
        shutil.rmtree(run / PREVIOUS, ignore_errors=True)
        if (run / LAST).exists():
            os.replace(run / LAST, run / PREVIOUS)
        os.replace(partial, run / LAST)
    accelerator.wait_for_everyone()


def load_checkpoint(run: Path, accelerator: Any) -> tuple[int, dict[str, Any]] | None:
    """Restore the last complete checkpoint of a run: (steps done, EMA state), or None for a fresh run."""
    for name in (LAST, PREVIOUS):  # PREVIOUS alone exists if the process died between the two renames
        if (run / name).exists():
            accelerator.load_state(str(run / name))
            progress = torch.load(run / name / "progress.pt", map_location="cpu", weights_only=True)
            return progress["step"], progress["ema"] or {}
    return None
