"""Train a codec: a small KL autoencoder for latent diffusion, as in Latent Diffusion (arXiv 2112.10752).

    python -m train.autoencoder --preset tiny --photos PHOTOS --output runs/codec
    python -m train.autoencoder --photos PHOTOS --size 128 --measure patch:4 runs/codec/weights

The second command trains nothing: it measures codecs on held-out photos and their degradations, so that which
one to use is decided by numbers. Run the first again to continue after an interruption.

It learns clean and degraded photos alike, since it has to carry both. The adversarial term of the original is
left out: it sharpens texture that the structure correction module restores from the clean photo anyway.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from gendeg_core.generate.codec import PatchCodec
from gendeg_core.generate.published_sizes import vae_config
from gendeg_core.seeds import sample_seed, torch_generator
from train.common.checkpoint import claim_run, load_checkpoint, save_checkpoint
from train.common.data import as_batch, batches, held_source, pair_source, pooled
from train.common.errors import UsageError
from train.common.options import RunOptions, check_size, make_accelerator
from train.common.perceptual import perceptual_distance
from train.common.presets import start
from train.common.tracking import Tracker, make_speedometer, psnr

HELD_PAIRS = 24


@dataclass(frozen=True)
class AutoencoderConfig(RunOptions):
    """One training run, or one measurement.

    Args:
        measure: codecs to measure instead of training: patch:N, or a folder of AutoencoderKL weights.
        widths: channels per scale, finest first; each but the first halves the resolution.
        layers: residual blocks per scale; groups: of the group norm, which must divide the widths.
        latent_channels: numbers per latent pixel.
        kl_weight: weight of the KL divergence, summed over the latent, against the error summed over pixels.
        perceptual: weight of LPIPS (VGG) against the absolute error; 0 leaves it out.
        trunk: file of torchvision's VGG16 ImageNet weights, which LPIPS needs.
    """

    output: Path = Path("runs/autoencoder")
    measure: tuple[str, ...] = ()

    widths: tuple[int, ...] = (32, 64, 128, 128)
    layers: int = 1
    groups: int = 32
    latent_channels: int = 16

    kl_weight: float = 1e-6
    perceptual: float = 0.0
    trunk: Path | None = None
    learning_rate: float = 4e-4
    clip: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(width % self.groups for width in self.widths):
            raise UsageError(f"groups={self.groups} must divide each of widths={self.widths}")
        if self.perceptual and self.trunk is None:
            raise UsageError(
                "LPIPS needs the weights of VGG16; give their file as --trunk, or --perceptual 0"
            )


def tiny() -> AutoencoderConfig:
    """Seconds on a CPU, for tests."""
    return AutoencoderConfig(
        size=32, batch=4, steps=20, workers=0, widths=(16, 32), groups=8, latent_channels=4,
        learning_rate=2e-3, log_every=5, save_every=10, sample_every=20,
    )  # fmt: skip


def embedded() -> AutoencoderConfig:
    """16 channels at an eighth of the resolution: for a GPU; the shipped weights use the patch codec."""
    return AutoencoderConfig(size=128, batch=16, steps=20_000, border=10, precision="bf16", sample_every=2000)


def paper() -> AutoencoderConfig:
    """Stable Diffusion's KL-f8."""
    config = vae_config()
    return AutoencoderConfig(
        widths=config["block_out_channels"], layers=config["layers_per_block"],
        latent_channels=config["latent_channels"], batch=12, learning_rate=5.4e-5, precision="bf16",
    )  # fmt: skip


PRESETS = {"tiny": tiny, "embedded": embedded, "paper": paper}


def build(config: AutoencoderConfig) -> AutoencoderKL:
    scales = len(config.widths)
    values: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * scales,
        "up_block_types": ("UpDecoderBlock2D",) * scales,
        "block_out_channels": config.widths,
        "layers_per_block": config.layers,
        "norm_num_groups": config.groups,
        "latent_channels": config.latent_channels,
        "sample_size": config.size,
    }
    return AutoencoderKL(**values)


class Reconstruction(nn.Module):
    """The autoencoder with one forward pass for both halves, as training on many GPUs needs it."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reconstruction (B, 3, S, S) and KL divergence (B,), summed over the latent.

        Args:
            image: (B, 3, S, S) in [-1, 1].
            noise: (B, C, s, s) standard normal, for the posterior's sample; None takes its mode.
        """
        posterior = self.vae.encode(image).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
        latent = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        return self.vae.decode(latent).sample, posterior.kl()  # pyright: ignore[reportAttributeAccessIssue]


def images(batch: Any, device: torch.device) -> Tensor:
    """Clean and degraded photos of a batch of pairs, (2B, 3, S, S) in [-1, 1]."""
    return torch.cat([batch["clean"], batch["degraded"]]).to(device).float() / 127.5 - 1


def main(config: AutoencoderConfig) -> None:
    if config.measure:
        measure(config)
        return
    accelerator = make_accelerator(config)
    source = pair_source(config)
    check_size(config.size, 2 ** (len(config.widths) - 1))
    distance = perceptual_distance(config.trunk, accelerator.device) if config.trunk else None
    claim_run(config.output, config, accelerator)
    pairs = pooled(config, source, None, accelerator)
    held = images(as_batch(held_source(config), config.seed, HELD_PAIRS), accelerator.device)

    torch.manual_seed(config.seed)  # initial weights only
    bare = Reconstruction(build(config))
    optimiser = torch.optim.AdamW(bare.parameters(), lr=config.learning_rate, betas=(0.5, 0.9))
    model, optimiser = accelerator.prepare(bare, optimiser)
    resumed = load_checkpoint(config.output, accelerator)
    first = resumed[0] if resumed else 0
    tracker = Tracker(config.output, first, accelerator.is_main_process, tensorboard=config.tensorboard)
    speed = make_speedometer(accelerator, bare, held[:1])
    micro_batches = batches(config, pairs, accelerator, first)

    for step in range(first, config.steps):
        total = torch.zeros((), device=accelerator.device)
        for micro in range(config.gradient_accumulation):
            seed = sample_seed(config.seed, f"noise {step} {micro} {accelerator.process_index}")
            image = images(next(micro_batches), accelerator.device)
            noise = torch.randn(latent_shape(config, len(image)), generator=torch_generator(seed))
            with accelerator.accumulate(model):
                output, divergence = model(image, noise.to(accelerator.device))
                loss = (output.float() - image).abs().mean()
                if distance is not None:
                    loss = loss + config.perceptual * distance(output.float(), image).mean()
                loss = loss + config.kl_weight * divergence.float().mean() / image[0].numel()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip)
                optimiser.step()
                optimiser.zero_grad()
            total += loss.detach() / config.gradient_accumulation
            speed.add(len(image) * accelerator.num_processes)
        done = step + 1
        if done % config.log_every == 0:
            mean = accelerator.reduce(total, "mean").item()  # pyright: ignore[reportAttributeAccessIssue]
            tracker.log(done, loss=mean, **speed.read())
        if done % config.save_every == 0 or done == config.steps:
            save_checkpoint(config.output, accelerator, done)
        if done % config.sample_every == 0 or done == config.steps:
            with torch.no_grad():
                again = bare(held)[0].float()
            tracker.log(done, psnr=psnr(again, held))
            tracker.picture(done, "held-out", (torch.stack([held, again], 1).cpu() + 1) / 2)
    if accelerator.is_main_process:
        save(config, bare.vae, held)
    accelerator.end_training()


def latent_shape(config: AutoencoderConfig, count: int) -> tuple[int, int, int, int]:
    side = config.size // 2 ** (len(config.widths) - 1)
    return count, config.latent_channels, side, side


@torch.no_grad()
def save(config: AutoencoderConfig, vae: AutoencoderKL, held: Tensor) -> None:
    """Write the weights, with the factor that gives latents unit variance, as Latent Diffusion does."""
    latents = vae.encode(held).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    vae.save_pretrained(config.output / "weights")
    print(f"weights are in {config.output / 'weights'}")


def load_codec(name: str) -> Any:
    """PatchCodec for patch:N, else the AutoencoderKL in a folder."""
    if name.startswith("patch:"):
        try:
            patch = int(name.removeprefix("patch:"))
            return PatchCodec(patch, 3 * patch**2)
        except ValueError as error:
            raise UsageError(f"{name!r} is no codec; give patch:N with a whole N, or a folder") from error
    if not (Path(name) / "config.json").is_file():
        raise UsageError(f"{name!r} is no codec; give patch:N, or a folder of AutoencoderKL weights")
    return AutoencoderKL.from_pretrained(name)


@torch.no_grad()
def measure(config: AutoencoderConfig) -> None:
    """Print, per codec: numbers per pixel, PSNR of clean and degraded held-out photos, seconds per image."""
    if config.photos is None:
        raise UsageError("nothing to measure on; give --photos FOLDER")
    held = images(as_batch(held_source(config), config.seed, HELD_PAIRS), torch.device("cpu"))
    print(f"{HELD_PAIRS} held-out pairs of {config.size} px, seed {config.seed}; PSNR in dB of 8-bit images")
    print(f"{'codec':32} {'latents':>8} {'clean':>8} {'degraded':>8} {'seconds':>8}")
    for name in config.measure:
        codec = load_codec(name)
        begun = time.perf_counter()
        latents = [codec.encode(image[None]).latent_dist.mode() for image in held]
        again = torch.cat([codec.decode(latent).sample for latent in latents]).clamp(-1, 1)
        seconds = (time.perf_counter() - begun) / len(held)
        again = ((again + 1) * 127.5).round() / 127.5 - 1
        clean, degraded = (psnr(a, b) for a, b in zip(again.chunk(2), held.chunk(2), strict=True))
        share = latents[0].numel() / math.prod(held.shape[1:])
        print(f"{name:32} {share:8.3f} {clean:8.2f} {degraded:8.2f} {seconds:8.4f}")


if __name__ == "__main__":
    start(main, PRESETS, __doc__)
