"""A scheduler for one pass: schedulers count their steps, so each pass at the same time needs its own."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Sampler:
    """Steps from noise to latents with a fresh copy of `scheduler`, which is left as it is.

    Args:
        scheduler: any diffusers scheduler.
        steps: number of steps of a whole pass.
        device: of the latents.
        last: begin where only the last `last` of the steps are left; None takes them all.
    """

    def __init__(self, scheduler: Any, steps: int, device: torch.device, *, last: int | None = None) -> None:
        self.scheduler = type(scheduler).from_config(scheduler.config)
        if _accepts(self.scheduler.set_timesteps, "sigmas") and _matches_flow(self.scheduler):
            # Left alone, these schedulers spend their last step on noise of one part in a thousand.
            self.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=device)
        else:
            self.scheduler.set_timesteps(steps, device=device)
        # A step of second order is two calls, but for the very last: pairs begin at even places.
        skipped = 0 if last is None else (steps - last) * getattr(self.scheduler, "order", 1)
        if last is not None and hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(skipped)
        self.timesteps: Tensor = self.scheduler.timesteps[skipped:]

    def start(self, noise: Tensor) -> Tensor:
        """The latents that a whole pass begins with, of standard normal `noise`."""
        return noise * getattr(self.scheduler, "init_noise_sigma", 1.0)

    def dissolve(self, signal: Tensor, noise: Tensor) -> Tensor:
        """The latents (1, C, h, w) that a pass over the last steps begins with: `signal` under `noise`."""
        if hasattr(self.scheduler, "scale_noise"):  # flow matching
            return self.scheduler.scale_noise(signal, self.timesteps[:1], noise)
        return self.scheduler.add_noise(signal, noise, self.timesteps[:1])

    def scale(self, latents: Tensor, t: Tensor) -> Tensor:
        """The latents as the network wants to see them."""
        if hasattr(self.scheduler, "scale_model_input"):
            return self.scheduler.scale_model_input(latents, t)
        return latents

    def step(
        self, prediction: Tensor, t: Tensor, latents: Tensor, generators: Sequence[torch.Generator]
    ) -> Any:
        """One step; stochastic schedulers draw from each image's own generator."""
        options = {"generator": list(generators)} if _accepts(self.scheduler.step, "generator") else {}
        return self.scheduler.step(prediction, t, latents, **options)

    def clean_estimate(self, step: Any, prediction: Tensor, t: Tensor, latents: Tensor) -> Tensor:
        """The clean latents as `prediction` at `latents` has them; `step` is what `step` gave for it.

        Raises:
            ValueError: the scheduler does not say how its latents are mixed.
        """
        config = self.scheduler.config
        if _matches_flow(self.scheduler) or config.get("use_flow_sigmas"):
            return latents - t / config.num_train_timesteps * prediction
        if getattr(step, "pred_original_sample", None) is not None:
            return step.pred_original_sample
        kind = config.get("prediction_type")
        if kind not in ("epsilon", "v_prediction") or not hasattr(self.scheduler, "alphas_cumprod"):
            raise ValueError(
                f"{type(self.scheduler).__name__} with prediction_type={kind!r} has no estimate to preview; "
                "sample without previews"
            )
        alpha_bar = self.scheduler.alphas_cumprod[int(t)]
        signal, noise = float(alpha_bar.sqrt()), float((1 - alpha_bar).sqrt())
        if kind == "epsilon":
            return (latents - noise * prediction) / signal
        return signal * latents - noise * prediction


def _matches_flow(scheduler: Any) -> bool:
    return type(scheduler).__name__.startswith("FlowMatch")


def _accepts(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters
