"""Train GenDeg: latent diffusion conditioned on a clean photo, text, mu and sigma (arXiv 2411.17687, section 3.1).

    python -m train.gendeg --preset tiny --photos PHOTOS --output runs/tiny
    accelerate launch -m train.gendeg --preset paper --photos PHOTOS --captions captions.csv --output runs/paper

Run it again with the same options to continue after an interruption.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.types import Degradation, prompt
from train.common.checkpoint import load_checkpoint, save_checkpoint
from train.common.conditioning import dropout_masks
from train.common.gendeg_components import Components, paper_components, small_components
from train.common.gendeg_samples import sample_sheet
from train.common.pairs import FolderPairs, MixedPairs, NumberedPairs, PairSource, SimulatedPairs
from train.common.photos import list_photos
from train.common.pool import PairPool
from train.common.presets import configuration
from train.common.tracking import Speedometer, Tracker, count_forward_flops, measured_peak


@dataclass(frozen=True)
class GenDegConfig:
    """One training run.

    Args:
        output: run folder: configuration, metrics, samples, checkpoint and, at the end, `weights`.
        photos, captions: clean photos for the simulators, and a CSV with columns file, caption, suitable.
        pairs: existing pairs as DEGRADATION=FOLDER or DEGRADATION=FOLDER=WEIGHT, the folder with lq and gt.
        simulated_weight: weight of the simulators beside the folders of pairs.
        border: pixels cut off every photo's edge.
        pool: make this many pairs once and keep them in the run folder; 0 makes each pair when it is needed.
        base: for `size_of_model` paper: Stable Diffusion 1.5 as a local folder or hub name; empty for random
            weights. For small: a folder of weights to start from, or empty.
        objective: epsilon (published) or flow (velocity, signal error weighted up to `flow_floor`).
        steps: optimiser steps; batch: pairs per process and micro-batch.
        projection_rate: learning rate of the two projections over that of the UNet.
        decay_from: share of the run after which the learning rate falls linearly to 2 %; 1 keeps it constant.
        dropout: u of the published dropout table.
        caption_dropout: share of captions left out, the degradation phrase kept (users often give none).
        ema_updates: EMA updates per optimiser step (published: one per micro-batch, hence 4).
    """

    output: Path = Path("runs/gendeg")
    photos: Path | None = None
    captions: Path | None = None
    pairs: tuple[str, ...] = ()
    simulated_weight: float = 1.0
    border: int = 0
    size: int = 256
    pool: int = 0
    workers: int = 4
    seed: int = 0

    size_of_model: Literal["small", "paper"] = "paper"
    base: str = ""
    widths: tuple[int, ...] = (64, 128, 192)
    depths: tuple[int, ...] = (2, 3, 4)
    context_width: int = 64

    objective: Literal["epsilon", "flow"] = "epsilon"
    flow_floor: float = 0.25
    flow_mean: float = 0.2
    steps: int = 100_000
    batch: int = 16
    gradient_accumulation: int = 1
    learning_rate: float = 1e-4
    projection_rate: float = 10.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 0
    decay_from: float = 1.0
    clip: float = 0.0
    dropout: float = 0.05
    caption_dropout: float = 0.0
    ema: float = 0.9999
    ema_updates: int = 1

    precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: bool = False
    compile: bool = False
    tensorboard: bool = False
    log_every: int = 50
    save_every: int = 500
    sample_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "size", "gradient_accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


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
        size_of_model="small", objective="flow", size=128, batch=16, steps=9000, pool=36_000, workers=2,
        border=10, learning_rate=6e-4, projection_rate=1.0, betas=(0.9, 0.99), warmup=200, decay_from=0.5,
        clip=1.0, caption_dropout=0.3, ema=0.999,
    )  # fmt: skip


def paper() -> GenDegConfig:
    """Stable Diffusion 1.5 size and the published recipe: 2 GPUs x 16 x 4 = 128 pairs per step."""
    return GenDegConfig(
        base="stable-diffusion-v1-5/stable-diffusion-v1-5", gradient_accumulation=4, ema_updates=4,
        precision="bf16", gradient_checkpointing=True, save_every=1000,
    )  # fmt: skip


PRESETS = {"tiny": tiny, "embedded": embedded, "paper": paper}


class GenDegModel(nn.Module):
    """All that is trained, as one module: text encoder, projections, denoiser."""

    def __init__(self, parts: Components) -> None:
        super().__init__()
        self.unet, self.intensity, self.text_encoder = parts.unet, parts.intensity, parts.text_encoder

    def forward(self, noisy: Tensor, clean: Tensor, time: Tensor, text: Tensor, stats: Tensor) -> Tensor:
        """The prediction (B, C, h, w).

        Args:
            noisy, clean: latents (B, C, h, w).
            time: (B,) as the UNet counts it, 0 to 1000.
            text: token ids (B, 77), or embeddings (B, 77, D) when they come from the cache.
            stats: one-hots (B, 2, 129).
        """
        words = self.text_encoder(text)[0] if text.ndim == 2 else text
        context = self.intensity(words, stats)
        return self.unet(torch.cat([noisy, clean], 1), time, encoder_hidden_states=context).sample


def pair_source(config: GenDegConfig) -> PairSource:
    """Simulators on photos and folders of pairs, mixed by weight."""
    sources: list[PairSource] = []
    weights: list[float] = []
    if config.photos is not None:
        photos = list_photos(config.photos, config.captions, border=config.border)
        sources.append(SimulatedPairs(photos, config.size))
        weights.append(config.simulated_weight)
    for option in config.pairs:
        name, folder, *weight = option.split("=")
        sources.append(FolderPairs(Path(folder), Degradation.parse(name), config.size))
        weights.append(float(weight[0]) if weight else 1.0)
    if not sources:
        raise ValueError("nothing to train on; give --photos FOLDER, --pairs DEGRADATION=FOLDER, or both")
    mixed = MixedPairs(sources, weights) if len(sources) > 1 else sources[0]
    if config.pool:
        return PairPool(mixed, config.seed, config.pool, config.output / "pool", processes=config.workers)
    return mixed


def batches(config: GenDegConfig, source: PairSource, accelerator: Accelerator, first: int) -> Iterator[Any]:
    """Micro-batches of this process from optimiser step `first` on.

    Pair numbers are dealt out by (step, micro-batch, process), so that a resumed run sees the same pairs.
    """
    per_step = config.batch * config.gradient_accumulation * accelerator.num_processes
    numbers = NumberedPairs(source, config.seed, config.steps * per_step)
    ours = range(accelerator.process_index, config.steps * per_step // config.batch, accelerator.num_processes)
    chosen = [
        range(block * config.batch, (block + 1) * config.batch)
        for block in ours[first * config.gradient_accumulation :]
    ]
    return iter(
        DataLoader(
            numbers,
            batch_sampler=chosen,  # pyright: ignore[reportArgumentType]
            num_workers=0 if config.pool else config.workers,  # reading the pool costs next to nothing
        )
    )


class PromptEncoder:
    """Prompts to token ids, or, for a frozen text encoder, to embeddings that are computed once per prompt."""

    def __init__(self, parts: Components, *, trained: bool) -> None:
        self.parts, self.trained = parts, trained
        self.cache: dict[str, Tensor] = {}

    def __call__(self, prompts: list[str], device: torch.device) -> Tensor:
        if self.trained:
            return self._tokens(prompts).to(device)
        new = sorted(set(prompts) - self.cache.keys())
        if new:
            with torch.no_grad():
                embedded = self.parts.text_encoder(self._tokens(new).to(device))[0]
            self.cache.update(zip(new, embedded.cpu(), strict=True))
        return torch.stack([self.cache[p] for p in prompts]).to(device)

    def _tokens(self, prompts: list[str]) -> Tensor:
        return self.parts.tokenizer(
            prompts, padding="max_length", truncation=True, return_tensors="pt", max_length=77
        ).input_ids


def training_loss(
    model: nn.Module, parts: Components, encode: PromptEncoder, batch: Any, config: GenDegConfig, seed: int
) -> Tensor:
    """Loss of one micro-batch; all its randomness comes from `seed`, drawn on the CPU."""
    generator = torch_generator(seed)
    device = next(model.parameters()).device
    count = len(batch["clean"])
    keep_text, keep_image = dropout_masks(torch.rand(count, generator=generator), config.dropout)
    keep_caption = torch.rand(count, generator=generator) >= config.caption_dropout
    kinds = [list(Degradation)[k] for k in batch["degradation"]]
    prompts = [
        prompt(caption if kept else "", kind) if text else ""
        for caption, kept, kind, text in zip(batch["caption"], keep_caption, kinds, keep_text, strict=True)
    ]
    intensities = [
        [float(value) if kept else None for value, kept in zip(batch[name], keep_text, strict=True)]
        for name in ("mu", "sigma")
    ]
    with torch.no_grad():
        clean, degraded = (batch[k].to(device).float() / 127.5 - 1 for k in ("clean", "degraded"))
        condition = parts.vae.encode(clean).latent_dist.mode() * keep_image.to(device)[:, None, None, None]
        signal = parts.vae.encode(degraded).latent_dist.sample(generator) * parts.vae.config.scaling_factor
        stats = parts.intensity.encode(*intensities).to(device)
    noise = torch.randn(signal.shape, generator=generator).to(device)
    text = encode(prompts, device)
    if config.objective == "epsilon":
        steps = parts.scheduler.config.num_train_timesteps
        time = torch.randint(steps, (count,), generator=generator).to(device)
        noisy = parts.scheduler.add_noise(signal, noise, time)
        return (model(noisy, condition, time, text, stats).float() - noise).square().mean()
    level = torch.sigmoid(torch.randn(count, generator=generator) + config.flow_mean).to(device)
    t = level[:, None, None, None]
    velocity = model((1 - t) * signal + t * noise, condition, 1000 * level, text, stats).float()
    # The error of the signal is t times that of the velocity; it counts by 1 / max(t, floor)**2.
    error = (t / t.clamp(min=config.flow_floor)) * (velocity - (noise - signal))
    return error.square().mean()


def learning_rate(config: GenDegConfig, step: int) -> float:
    """Factor on the base learning rate: linear warm-up, constant, linear fall to 2 %."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    begin = config.decay_from * config.steps
    if step <= begin or config.decay_from >= 1:
        return warm
    return warm * max(0.02, 1 - (step - begin) / (config.steps - begin))


def parameter_groups(model: GenDegModel, config: GenDegConfig) -> list[dict[str, Any]]:
    """The UNet (and a small text encoder) at the base rate, the two projections at their multiple of it."""
    projections = list(model.intensity.parameters())
    rest = [p for part in (model.unet, model.text_encoder) for p in part.parameters() if p.requires_grad]
    base = config.learning_rate
    return [{"params": rest, "lr": base}, {"params": projections, "lr": base * config.projection_rate}]


def main(config: GenDegConfig) -> None:
    accelerator = Accelerator(
        mixed_precision=config.precision, gradient_accumulation_steps=config.gradient_accumulation
    )
    torch.manual_seed(config.seed)  # initial weights only
    source = pair_source(config)
    parts = small_components(config) if config.size_of_model == "small" else paper_components(config)
    model = GenDegModel(parts)
    published = config.size_of_model == "paper"
    if published:
        model.text_encoder.requires_grad_(False)
    if config.gradient_checkpointing:
        parts.unet.enable_gradient_checkpointing()
    parts.vae.to(accelerator.device)
    optimiser = torch.optim.AdamW(parameter_groups(model, config), betas=config.betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, functools.partial(learning_rate, config))
    model, optimiser = accelerator.prepare(model, optimiser)
    bare = accelerator.unwrap_model(model)
    averaged = list((bare.unet if published else bare).parameters())  # as published: only the UNet has an EMA
    ema = EMAModel(averaged, decay=config.ema)
    first, encode = 0, PromptEncoder(parts, trained=not published)
    accelerator.register_for_checkpointing(schedule)
    if resumed := load_checkpoint(config.output, accelerator):
        first, ema_state = resumed
        ema.load_state_dict(ema_state)
    ema.to(accelerator.device)
    if config.compile:
        bare.unet.compile()
    tracker = Tracker(config.output, config, tensorboard=config.tensorboard)
    speed = speedometer(config, parts, accelerator)
    pairs = batches(config, source, accelerator, first)

    def weights() -> GenDegPipeline:
        """The pipeline under EMA weights; call `ema.restore` afterwards."""
        ema.store(averaged)
        ema.copy_to(averaged)
        return parts.pipeline(objective=config.objective)

    for step in range(first, config.steps):
        total = 0.0
        for micro in range(config.gradient_accumulation):
            place = f"noise {step} {micro} {accelerator.process_index}"
            with accelerator.accumulate(model):
                loss = training_loss(
                    model, parts, encode, next(pairs), config, sample_seed(config.seed, place)
                )
                accelerator.backward(loss)
                if config.clip and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip)
                optimiser.step()
                optimiser.zero_grad()
            total += loss.item() / config.gradient_accumulation
            speed.add(config.batch * accelerator.num_processes)
        schedule.step()
        for _ in range(config.ema_updates):
            ema.step(averaged)
        done = step + 1
        if accelerator.is_main_process and done % config.log_every == 0:
            tracker.log(done, loss=total, learning_rate=schedule.get_last_lr()[0], **speed.read())
        if done % config.save_every == 0 or done == config.steps:
            save_checkpoint(config.output, accelerator, done, ema.state_dict())
        if accelerator.is_main_process and (done % config.sample_every == 0 or done == config.steps):
            numbers, sheet = sample_sheet(weights(), source, config.seed)
            ema.restore(averaged)
            tracker.picture(done, "samples", sheet)
            tracker.log(done, **numbers)
    if accelerator.is_main_process:
        weights().save_pretrained(config.output / "weights", safe_serialization=True)
        ema.restore(averaged)
        print(f"weights are in {config.output / 'weights'}")


def speedometer(config: GenDegConfig, parts: Components, accelerator: Accelerator) -> Speedometer:
    """Counts images and relates them to what this device was measured to be able to do."""
    device = accelerator.device
    with torch.no_grad():
        latent = parts.vae.encode(torch.zeros(1, 3, config.size, config.size, device=device)).latent_dist.mode()
    context = torch.zeros(1, 77, parts.intensity.config.text_dim, device=device)
    time = torch.zeros(1, device=device)
    flops = count_forward_flops(parts.unet, torch.cat([latent, latent], 1), time, context)
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]
    return Speedometer(flops, measured_peak(device, dtype) * accelerator.num_processes)


if __name__ == "__main__":
    main(configuration(PRESETS, __doc__))
