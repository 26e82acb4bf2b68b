"""Train the structure correction module: what puts back the scene's structure that the VAE lost.

GenDeg (arXiv 2411.17687), section 3.1, equations 2 to 4: a frozen generator estimates the degraded image from
one random noise level, the module corrects the estimate, and its error counts by the noise level.

    python -m train.structure --preset tiny --generator WEIGHTS --photos PHOTOS --output runs/structure

Run it again with the same options to continue after an interruption.

The paper leaves open, and we guessed after AutoDIR, where it has the idea from: mean over pixels in [-1, 1],
AdamW at 1e-3 falling to 1e-7 along a cosine, the generator's conditions dropped as in its own training, no
guidance, decoding without gradient. Also a guess: all six degradations, 4000 steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gendeg_core.generate.experts import EXPERTS
from gendeg_core.generate.loading import load_pipeline
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.generate.structure import StructureCorrection
from gendeg_core.seeds import sample_seed, torch_generator
from train.common.checkpoint import claim_run, load_checkpoint, save_checkpoint
from train.common.conditioning import describe, dropout_masks
from train.common.data import as_batch, batches, held_source, pair_source, pooled
from train.common.errors import UsageError
from train.common.latents import encode_pairs
from train.common.objectives import Objective, objective_of
from train.common.options import RunOptions, check_size, make_accelerator
from train.common.presets import start
from train.common.prompts import PromptEncoder
from train.common.tracking import Tracker, make_speedometer, psnr

HELD_PAIRS = 12


@dataclass(frozen=True)
class StructureConfig(RunOptions):
    """One training run.

    Args:
        generator: folder of GenDeg weights, kept frozen.
        whole: also write a folder of the generator's weights with the new structure module in it.
        width, encoder_blocks, middle_blocks, decoder_blocks: size of the network.
        learning_rate, final_rate: first and last of the cosine.
        dropout: u of the generator's dropout table.
    """

    output: Path = Path("runs/structure")
    generator: Path | None = None
    whole: bool = False

    width: int = 64
    encoder_blocks: tuple[int, ...] = (2, 2, 4, 8)
    middle_blocks: int = 12
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2)

    learning_rate: float = 1e-3
    final_rate: float = 1e-7
    dropout: float = 0.05


def tiny() -> StructureConfig:
    """Seconds on a CPU, for tests."""
    return StructureConfig(
        size=32, batch=4, steps=20, workers=0, width=8, encoder_blocks=(1, 1), middle_blocks=1,
        decoder_blocks=(1, 1), log_every=5, save_every=10, sample_every=20,
    )  # fmt: skip


def embedded() -> StructureConfig:
    """For small weights with a VAE; those with the lossless patch codec have nothing to correct."""
    return StructureConfig(
        size=128, batch=8, steps=4000, workers=2, border=10, width=24, encoder_blocks=(1, 1, 2),
        middle_blocks=2, decoder_blocks=(1, 1, 1),
    )  # fmt: skip


def paper() -> StructureConfig:
    """The published network (116 M parameters)."""
    return StructureConfig(steps=4000, batch=8, precision="bf16")


PRESETS = {"tiny": tiny, "embedded": embedded, "paper": paper}


@dataclass(frozen=True)
class Generator:
    """The frozen generator and how it was trained."""

    pipeline: GenDegPipeline
    objective: Objective
    encode: PromptEncoder
    accelerator: Accelerator

    @torch.no_grad()
    def estimate(self, batch: Any, dropout: float, seed: int) -> tuple[Tensor, Tensor]:
        """x_gen (B, 3, S, S) in [-1, 1] of a batch, and lambda_t (B,); all randomness from `seed`."""
        draws, device = torch_generator(seed), self.accelerator.device
        pipeline, count = self.pipeline, len(batch["clean"])
        keep_text, keep_image = dropout_masks(torch.rand(count, generator=draws), dropout)
        prompts, mus, sigmas = describe(batch, keep_text, torch.ones(count, dtype=torch.bool))
        text = self.encode(prompts, device)
        context = pipeline.intensity(text, pipeline.intensity.encode(mus, sigmas).to(device))
        mode, posterior = encode_pairs(pipeline.vae, batch, device)
        condition = mode * keep_image.to(device)[:, None, None, None]
        signal = posterior.sample(draws) * pipeline.vae.config.scaling_factor
        noise = torch.randn(signal.shape, generator=draws).to(device)
        time = self.objective.draw_times(count, draws).to(device)
        noisy = self.objective.noisy(signal, noise, time)
        with self.accelerator.autocast():
            unet_time, inputs = self.objective.unet_time(time), torch.cat([noisy, condition], 1)
            prediction = pipeline.unet(inputs, unet_time, encoder_hidden_states=context).sample
        estimated = self.objective.signal(noisy, prediction.float(), time)  # Eq. 3
        return pipeline.decode(estimated), self.objective.structure_weight(time)


def load_generator(folder: Path | None, accelerator: Accelerator) -> Generator:
    if folder is None:
        raise UsageError("no generator to correct; give its weights folder as --generator")
    try:
        pipeline, _ = load_pipeline(folder, accelerator.device)
    except OSError as error:
        raise UsageError(str(error)) from error
    if experts := [name for name in EXPERTS.values() if getattr(pipeline, name) is not None]:
        raise UsageError(
            f"{folder} has experts, whose output no structure module corrects; "
            f"give weights without {' and '.join(experts)}"
        )
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet, pipeline.intensity):
        part.requires_grad_(False).eval()
    encode = PromptEncoder(pipeline.tokenizer, pipeline.text_encoder, trained=False)
    return Generator(pipeline, objective_of(pipeline.scheduler), encode, accelerator)


def images(batch: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Clean and degraded image of a batch, (B, 3, S, S) in [-1, 1]."""
    clean, degraded = (batch[name].to(device).float() / 127.5 - 1 for name in ("clean", "degraded"))
    return clean, degraded


def structure_loss(model: nn.Module, generator: Generator, batch: Any, dropout: float, seed: int) -> Tensor:
    clean, degraded = images(batch, generator.accelerator.device)
    generated, weight = generator.estimate(batch, dropout, seed)
    corrected = model(clean, generated).float()  # Eq. 2
    return (weight * (degraded - corrected).square().mean((1, 2, 3))).mean()  # Eq. 4


def main(config: StructureConfig) -> None:
    accelerator = make_accelerator(config)
    source = pair_source(config)
    generator = load_generator(config.generator, accelerator)
    check_size(config.size, generator.pipeline.pixel_multiple)
    claim_run(config.output, config, accelerator)
    pairs = pooled(config, source, generator.pipeline.vae, accelerator)
    held = as_batch(held_source(config), config.seed, HELD_PAIRS)

    torch.manual_seed(config.seed)  # initial weights only
    bare = StructureCorrection(
        config.width, config.encoder_blocks, config.middle_blocks, config.decoder_blocks
    )
    optimiser = torch.optim.AdamW(bare.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps, config.final_rate)
    model, optimiser = accelerator.prepare(bare, optimiser)
    accelerator.register_for_checkpointing(schedule)
    resumed = load_checkpoint(config.output, accelerator)
    first = resumed[0] if resumed else 0
    tracker = Tracker(config.output, first, accelerator.is_main_process, tensorboard=config.tensorboard)
    blank = torch.zeros(1, 3, config.size, config.size, device=accelerator.device)
    speed = make_speedometer(accelerator, bare, blank, blank)
    micro_batches = batches(config, pairs, accelerator, first)

    for step in range(first, config.steps):
        total = torch.zeros((), device=accelerator.device)
        for micro in range(config.gradient_accumulation):
            seed = sample_seed(config.seed, f"noise {step} {micro} {accelerator.process_index}")
            with accelerator.accumulate(model):
                loss = structure_loss(model, generator, next(micro_batches), config.dropout, seed)
                accelerator.backward(loss)
                optimiser.step()
                optimiser.zero_grad()
            total += loss.detach() / config.gradient_accumulation
            speed.add(config.batch * accelerator.num_processes)
        schedule.step()
        done = step + 1
        if done % config.log_every == 0:
            mean = accelerator.reduce(total, "mean").item()  # pyright: ignore[reportAttributeAccessIssue]
            tracker.log(done, loss=mean, learning_rate=float(schedule.get_last_lr()[0]), **speed.read())
        if done % config.save_every == 0 or done == config.steps:
            save_checkpoint(config.output, accelerator, done)
        if done % config.sample_every == 0 or done == config.steps:
            log_held_out(tracker, done, bare, generator, held, config.seed)
    if accelerator.is_main_process:
        save(config, bare, generator.pipeline)
    accelerator.end_training()


@torch.no_grad()
def log_held_out(
    tracker: Tracker, done: int, model: nn.Module, generator: Generator, batch: Any, seed: int
) -> None:
    """PSNR on held-out pairs before and after the correction, and a sheet of both."""
    clean, degraded = images(batch, generator.accelerator.device)
    generated, _ = generator.estimate(batch, 0.0, seed)
    corrected = model(clean, generated).float().clamp(-1, 1)
    tracker.log(done, psnr_generated=psnr(generated, degraded), psnr_corrected=psnr(corrected, degraded))
    columns = torch.stack([clean, degraded, generated, corrected], 1)
    tracker.picture(done, "held-out", (columns.cpu() + 1) / 2)


def save(config: StructureConfig, model: StructureCorrection, pipeline: GenDegPipeline) -> None:
    model.save_pretrained(config.output / "weights")
    print(f"weights are in {config.output / 'weights'}")
    if config.whole:
        pipeline.register_modules(structure=model)
        pipeline.save_pretrained(config.output / "generator", safe_serialization=True)
        print(f"the generator with it is in {config.output / 'generator'}")


if __name__ == "__main__":
    start(main, PRESETS, __doc__)
