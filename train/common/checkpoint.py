"""Checkpoints that survive kill -9: written beside the last one, renamed when complete.

Everything random in the training scripts is a function of (seed, step), so weights, optimiser, EMA and the
step number are all there is to save, and a resumed run repeats the losses of an uninterrupted one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

LAST, PREVIOUS, PARTIAL = "checkpoint", "checkpoint.previous", "checkpoint.partial"


def save_checkpoint(run: Path, accelerator: Any, step: int, ema: dict[str, Any]) -> None:
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
            return progress["step"], progress["ema"]
    return None
