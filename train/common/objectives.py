"""What a denoiser is trained to predict: the noise, as published, or a flow for the small model.

Symbols as in GenDeg (arXiv 2411.17687), section 3.1: alpha_bar is the product of the noise schedule, z_t the
noisy latent, z0_hat the one-step estimate of the signal (eq. 3), lambda_t the weight of eq. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gendeg_core.generate.published_sizes import scheduler_config
from train.common.errors import UsageError


def objective_of(scheduler: Any) -> Objective:
    """What the denoiser of a pipeline with this scheduler predicts; all times equally likely.

    Raises:
        UsageError: it predicts neither the noise nor a flow.
    """
    if type(scheduler).__name__.startswith("FlowMatch"):
        return Flow(uniform=1.0)
    prediction = scheduler.config.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise UsageError(
            f"the generator predicts {prediction!r}; only epsilon and flow matching are trained here"
        )
    return Epsilon(scheduler.alphas_cumprod)


class Objective(Protocol):
    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) times of training samples, on the CPU."""
        ...

    def unet_time(self, time: Tensor) -> Tensor:
        """The time as the denoiser counts it, 0 to 1000."""
        ...

    def noisy(self, signal: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """z_t of signal and noise (B, C, h, w)."""
        ...

    def error(self, prediction: Tensor, signal: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Weighted error of the prediction; the loss is its mean square."""
        ...

    def signal(self, noisy: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        """z0_hat."""
        ...

    def structure_weight(self, time: Tensor) -> Tensor:
        """lambda_t, (B,)."""
        ...


def published_alpha_bar() -> Tensor:
    """(1000,) alpha_bar of Stable Diffusion's schedule, which GenDeg uses."""
    config = scheduler_config()
    low, high = config["beta_start"] ** 0.5, config["beta_end"] ** 0.5
    betas = torch.linspace(low, high, config["num_train_timesteps"], dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


@dataclass(frozen=True)
class Epsilon:
    """The published objective: predict the noise; t uniform over the steps of the schedule."""

    alpha_bar: Tensor  # (T,)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self.alpha_bar), (count,), generator=generator)

    def unet_time(self, time: Tensor) -> Tensor:
        return time

    def noisy(self, signal: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        alpha_bar = self._at(time)
        return alpha_bar.sqrt() * signal + (1 - alpha_bar).sqrt() * noise

    def error(self, prediction: Tensor, signal: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        del signal, time
        return prediction - noise

    def signal(self, noisy: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        alpha_bar = self._at(time)
        return (noisy - (1 - alpha_bar).sqrt() * prediction) / alpha_bar.sqrt()  # Eq. 3

    def structure_weight(self, time: Tensor) -> Tensor:
        alpha_bar = self.alpha_bar.to(time.device)
        before = torch.where(time > 0, alpha_bar[(time - 1).clamp(min=0)], 1.0)
        return before.sqrt() * (1 - alpha_bar[time]).sqrt()  # Eq. 4

    def _at(self, time: Tensor) -> Tensor:
        return self.alpha_bar.to(time.device)[time][:, None, None, None]


@dataclass(frozen=True)
class Flow:
    """Flow matching, z_t = (1 - t) * signal + t * noise with t in (0, 1): predict noise - signal.

    Args:
        floor: the error of the signal is t times that of the velocity; it counts by 1 / max(t, floor)**2.
        mean: of the normal distribution whose sigmoid is t.
        uniform: share of samples whose t is uniform instead. The logit-normal alone hardly ever visits the
            first step of a sampler, where the overall strength of haze and darkness is decided.
    """

    floor: float = 0.25
    mean: float = 0.2
    uniform: float = 0.3

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        normal = torch.sigmoid(torch.randn(count, generator=generator) + self.mean)
        uniform = torch.rand(count, generator=generator)
        return torch.where(torch.rand(count, generator=generator) < self.uniform, uniform, normal)

    def unet_time(self, time: Tensor) -> Tensor:
        return 1000 * time

    def noisy(self, signal: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        t = time[:, None, None, None]
        return (1 - t) * signal + t * noise

    def error(self, prediction: Tensor, signal: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        t = time[:, None, None, None]
        return (t / t.clamp(min=self.floor)) * (prediction - (noise - signal))

    def signal(self, noisy: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        return noisy - time[:, None, None, None] * prediction

    def structure_weight(self, time: Tensor) -> Tensor:
        # Its signal and noise factors 1 - t and t stand for sqrt(alpha_bar) and sqrt(1 - alpha_bar); the step
        # back from t is infinitesimal.
        return (1 - time) * time
