"""Train GenDeg: latent diffusion conditioned on a clean photo, text, mu and sigma.

GenDeg (arXiv 2411.17687), section 3.1.

    python -m train.gendeg --preset tiny --photos PHOTOS --output runs/tiny
    accelerate launch -m train.gendeg --preset paper --photos PHOTOS --captions CSV --output runs/paper

Run it again with the same options to continue after an interruption.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.types import Degradation
from train.common.checkpoint import claim_run, load_checkpoint, save_checkpoint
from train.common.conditioning import describe, dropout_masks
from train.common.data import batches, expert_source, pair_source, pooled
from train.common.errors import UsageError
from train.common.gendeg_components import (
    Components,
    paper_components,
    small_components,
    training_captions,
)
from train.common.gendeg_samples import sample_sheet
from train.common.latents import encode_pairs
from train.common.objectives import Epsilon, Flow, Objective, published_alpha_bar
from train.common.options import RunOptions, check_size, make_accelerator
from train.common.pairs import PairSource, layout_of
from train.common.presets import start
from train.common.prompts import PromptEncoder
from train.common.text_start import teach_degradations
from train.common.tracking import Speedometer, Tracker, make_speedometer


@dataclass(frozen=True)
class GenDegConfig(RunOptions):
    """One training run.

    Args:
        expert: train a denoiser for this degradation alone, on layouts and on simulated pairs, starting from
            the denoiser of `base` (or its expert); all else of `base` stays as it is. Without it experts of
            `base` are left out.
        base: for `size_of_model` paper: Stable Diffusion 1.5 as a local folder or hub name; empty for random
            weights. For small: a folder of weights to start from, or empty.
        width_divisor: divides all widths of the paper's networks, to try the recipe on a small machine.
        objective: epsilon (published) or flow (velocity, signal error weighted up to `flow_floor`).
        flow_mean, flow_uniform: distribution of the noise levels, see `train.common.objectives.Flow`.
        projection_rate: learning rate of the two projections over that of the UNet.
        decay_from: share of the run after which the learning rate falls linearly to 2 %; 1 keeps it constant.
        dropout: u of the published dropout table.
        caption_dropout: share of captions left out, the degradation phrase kept (users often give none).
        text_start: steps in which a small text encoder first learns to tell the degradations apart.
        ema_updates: EMA updates per optimiser step (published: one per micro-batch, hence 4).
        gradient_checkpointing: recompute instead of keeping activations; for the paper's size only.
    """

    output: Path = Path("runs/gendeg")

    expert: Literal["", "raindrop", "motion_blur"] = ""
    size_of_model: Literal["small", "paper"] = "paper"
    base: str = ""
    width_divisor: int = 1
    widths: tuple[int, ...] = (64, 128, 192)
    depths: tuple[int, ...] = (2, 3, 4)
    context_width: int = 64

    objective: Literal["epsilon", "flow"] = "epsilon"
    flow_floor: float = 0.25
    flow_mean: float = 0.2
    flow_uniform: float = 0.3
    learning_rate: float = 1e-4
    projection_rate: float = 10.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 0
    decay_from: float = 1.0
    clip: float = 0.0
    dropout: float = 0.05
    caption_dropout: float = 0.0
    text_start: int = 0
    ema: float = 0.9999
    ema_updates: int = 1

    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= 3 * self.dropout <= 1:
            raise UsageError(f"dropout={self.dropout} must be from 0 to 1/3: the table has three rows of it")
        if len(self.widths) != len(self.depths):
            raise UsageError(f"widths={self.widths} and depths={self.depths} must be of one length")
        if self.width_divisor < 1 or (self.width_divisor > 1 and self.base):
            raise UsageError(
                f"width_divisor={self.width_divisor} must be 1, or above it with random weights (--base '')"
            )
        if self.size_of_model == "small" and self.objective != "flow":
            raise UsageError("the small denoiser answers with a velocity; give --objective flow")
        if self.size_of_model == "paper" and self.text_start:
            raise UsageError("text_start is for the small text encoder; the paper's stays as it is")
        if self.expert and (self.size_of_model != "small" or not self.base):
            raise UsageError(f"an expert for {self.expert} starts from small weights; give them as --base")
        if self.expert and (self.pairs or self.photos is None or self.text_start or self.emphasis):
            raise UsageError(
                f"an expert for {self.expert} learns from simulated {self.expert} pairs; give --photos, and "
                "neither --pairs nor --emphasis; --text-start must be 0"
            )
        if self.size_of_model == "small" and self.gradient_checkpointing:
            raise UsageError("the small denoiser needs no gradient checkpointing; leave it out")


def tiny() -> GenDegConfig:
    """Seconds on a CPU, for tests."""
    return GenDegConfig(
        size_of_model="small", objective="flow", size=32, batch=4, steps=20, workers=0, widths=(16, 32),
        depths=(1, 1), context_width=32, learning_rate=1e-3, ema=0.99, log_every=5, save_every=10,
        sample_every=20,
    )  # fmt: skip


def embedded() -> GenDegConfig:
    """The shipped weights: 128 px, hours on two CPU cores or minutes on a GPU."""
    return GenDegConfig(
        size_of_model="small", objective="flow", size=128, batch=16, steps=8000, pool=24_000, workers=2,
        border=10, learning_rate=6e-4, projection_rate=1.0, betas=(0.9, 0.99), warmup=200, decay_from=0.5,
        clip=1.0, caption_dropout=0.3, text_start=300, ema=0.999,
    )  # fmt: skip


def paper() -> GenDegConfig:
    """Stable Diffusion 1.5 size and the published recipe: 2 GPUs x 16 x 4 = 128 pairs per step."""
    return GenDegConfig(
        base="stable-diffusion-v1-5/stable-diffusion-v1-5", gradient_accumulation=4, ema_updates=4,
        precision="bf16", gradient_checkpointing=True, save_every=1000,
    )  # fmt: skip


PRESETS = {"tiny": tiny, "embedded": embedded, "paper": paper}


class GenDegModel(nn.Module):
    """All that is trained, as one module: text encoder, projections, denoiser; or an expert alone."""

    def __init__(self, parts: Components, expert: str = "") -> None:
        super().__init__()
        self.unet = parts.denoiser(expert)
        self.intensity, self.text_encoder = parts.intensity, parts.text_encoder
        if expert:
            self.intensity.requires_grad_(False)
            self.text_encoder.requires_grad_(False)

    def forward(
        self, noisy: Tensor, clean: Tensor, time: Tensor, text: Tensor, stats: Tensor, *told: Tensor
    ) -> Tensor:
        """The prediction (B, C, h, w).

        Args:
            noisy, clean: latents (B, C, h, w).
            time: (B,) as the UNet counts it, 0 to 1000.
            text: token ids (B, 77), or embeddings (B, 77, D) when they come from the cache.
            stats: one-hots (B, 2, 129).
            told: what an expert sees besides, (B, C, h, w).
        """
        words = self.text_encoder(text)[0] if text.ndim == 2 else text
        context = self.intensity(words, stats)
        return self.unet(torch.cat([noisy, clean, *told], 1), time, encoder_hidden_states=context).sample


def noise_objective(config: GenDegConfig) -> Objective:
    if config.objective == "epsilon":
        return Epsilon(published_alpha_bar())
    return Flow(config.flow_floor, config.flow_mean, config.flow_uniform)


def learning_rate(config: GenDegConfig, step: int) -> float:
    """Factor on the base learning rate: linear warm-up, constant, linear fall to 2 %."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    begin = config.decay_from * config.steps
    if step <= begin or config.decay_from >= 1:
        return warm
    return warm * max(0.02, 1 - (step - begin) / (config.steps - begin))


def parameter_groups(model: GenDegModel, config: GenDegConfig) -> list[dict[str, Any]]:
    """The UNet (and a small text encoder) at the base rate, the two projections at their multiple of it."""
    projections = [p for p in model.intensity.parameters() if p.requires_grad]
    rest = [p for part in (model.unet, model.text_encoder) for p in part.parameters() if p.requires_grad]
    base = config.learning_rate
    return [{"params": rest, "lr": base}, {"params": projections, "lr": base * config.projection_rate}]


@dataclass(frozen=True)
class Training:
    """All that the loop works with."""

    accelerator: Accelerator
    parts: Components
    pairs: PairSource
    objective: Objective
    encode: PromptEncoder
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    averaged: list[nn.Parameter]
    ema: EMAModel
    first: int  # steps that an interrupted run has done

    @contextlib.contextmanager
    def averaged_pipeline(self) -> Iterator[GenDegPipeline]:
        """The pipeline under EMA weights."""
        self.ema.store(self.averaged)
        self.ema.copy_to(self.averaged)
        try:
            yield self.parts.pipeline()
        finally:
            self.ema.restore(self.averaged)


def set_up(config: GenDegConfig) -> Training:
    accelerator = make_accelerator(config)
    published = config.size_of_model == "paper"
    source = expert_source(config, Degradation(config.expert)) if config.expert else pair_source(config)
    torch.manual_seed(config.seed)  # initial weights only
    parts = paper_components(config) if published else small_components(config)
    if config.text_start:  # an interrupted run takes its checkpoint instead, further down
        teach_degradations(parts, training_captions(config), config.text_start, config.seed)
    check_size(config.size, parts.pipeline().pixel_multiple)
    claim_run(config.output, config, accelerator)
    parts.vae.to(accelerator.device)
    pairs = pooled(config, source, parts.vae, accelerator)

    model = GenDegModel(parts, config.expert)
    if config.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
    optimiser = torch.optim.AdamW(parameter_groups(model, config), betas=config.betas)
    # Not prepared by accelerate, which would step it once per process.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, functools.partial(learning_rate, config))
    model, optimiser = accelerator.prepare(model, optimiser)
    bare = accelerator.unwrap_model(model)
    # As published, only the UNet has an EMA; of an expert nothing else is trained.
    averaged = list((bare.unet if published or config.expert else bare).parameters())
    ema = EMAModel(averaged, decay=config.ema)
    first = 0
    accelerator.register_for_checkpointing(schedule)
    if resumed := load_checkpoint(config.output, accelerator):
        first, ema_state = resumed
        ema.load_state_dict(ema_state)
    ema.to(accelerator.device)
    encode = PromptEncoder(parts.tokenizer, parts.text_encoder, trained=not published and not config.expert)
    objective = noise_objective(config)
    return Training(
        accelerator, parts, pairs, objective, encode, model, optimiser, schedule, averaged, ema, first
    )


def training_loss(run: Training, batch: Any, config: GenDegConfig, seed: int) -> Tensor:
    """Loss of one micro-batch; all its randomness comes from `seed`, drawn on the CPU."""
    generator = torch_generator(seed)
    device = run.accelerator.device
    count = len(batch["clean"])
    keep_text, keep_image = dropout_masks(torch.rand(count, generator=generator), config.dropout)
    keep_caption = torch.rand(count, generator=generator) >= config.caption_dropout
    prompts, mus, sigmas = describe(batch, keep_text, keep_caption)
    with torch.no_grad():
        mode, posterior = encode_pairs(run.parts.vae, batch, device)
        condition = mode * keep_image.to(device)[:, None, None, None]
        signal = posterior.sample(generator) * run.parts.vae.config.scaling_factor
        stats = run.parts.intensity.encode(mus, sigmas).to(device)
    fold = batch["clean"].shape[-1] // signal.shape[-1]
    noise = torch.randn(signal.shape, generator=generator).to(device)
    time = run.objective.draw_times(count, generator).to(device)
    noisy = run.objective.noisy(signal, noise, time)
    text = run.encode(prompts, device)
    told = [F.pixel_unshuffle(layout_of(batch["layout"]), fold).to(device)] if config.expert else []
    prediction = run.model(noisy, condition, run.objective.unet_time(time), text, stats, *told).float()
    return run.objective.error(prediction, signal, noise, time).square().mean()


def main(config: GenDegConfig) -> None:
    run = set_up(config)
    accelerator, model, optimiser = run.accelerator, run.model, run.optimiser
    tracker = Tracker(config.output, run.first, accelerator.is_main_process, tensorboard=config.tensorboard)
    speed = speedometer(config, run.parts, accelerator)
    if config.compile:
        run.accelerator.unwrap_model(run.model).unet.compile()
    micro_batches = batches(config, run.pairs, accelerator, run.first)

    for step in range(run.first, config.steps):
        total = torch.zeros((), device=accelerator.device)
        for micro in range(config.gradient_accumulation):
            seed = sample_seed(config.seed, f"noise {step} {micro} {accelerator.process_index}")
            with accelerator.accumulate(model):
                loss = training_loss(run, next(micro_batches), config, seed)
                accelerator.backward(loss)
                if config.clip and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip)
                optimiser.step()
                optimiser.zero_grad()
            total += loss.detach() / config.gradient_accumulation
            speed.add(config.batch * accelerator.num_processes)
        run.schedule.step()
        for _ in range(config.ema_updates):
            run.ema.step(run.averaged)
        done = step + 1
        if done % config.log_every == 0:
            mean = accelerator.reduce(total, "mean").item()  # pyright: ignore[reportAttributeAccessIssue]
            tracker.log(done, loss=mean, learning_rate=float(run.schedule.get_last_lr()[0]), **speed.read())
        if done % config.save_every == 0 or done == config.steps:
            save_checkpoint(config.output, accelerator, done, run.ema.state_dict())
        if done % config.sample_every == 0 or done == config.steps:
            log_samples(run, tracker, done, config.seed)
    if accelerator.is_main_process:
        with run.averaged_pipeline() as pipeline:
            pipeline.save_pretrained(config.output / "weights", safe_serialization=True)
        print(f"weights are in {config.output / 'weights'}")
    accelerator.end_training()


def log_samples(run: Training, tracker: Tracker, done: int, seed: int) -> None:
    if run.accelerator.is_main_process:
        with run.averaged_pipeline() as pipeline:
            numbers, sheet = sample_sheet(pipeline, run.pairs, seed)
        tracker.picture(done, "samples", sheet)
        tracker.log(done, **numbers)
    run.accelerator.wait_for_everyone()


def speedometer(config: GenDegConfig, parts: Components, accelerator: Accelerator) -> Speedometer:
    """Counts images and relates them to what this device was measured to be able to do."""
    device = accelerator.device
    blank = torch.zeros(1, 3, config.size, config.size, device=device)
    with torch.no_grad():
        latent = parts.vae.encode(blank).latent_dist.mode()
    context = torch.zeros(1, 77, parts.intensity.cc_projection.out_features, device=device)
    time = torch.zeros(1, device=device)
    inputs = [latent] * (3 if config.expert else 2)
    return make_speedometer(accelerator, parts.denoiser(config.expert), torch.cat(inputs, 1), time, context)


if __name__ == "__main__":
    start(main, PRESETS, __doc__)
