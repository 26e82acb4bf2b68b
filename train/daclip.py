"""Train DA-CLIP: a controller that tells the degradation of an image and lets CLIP see past it.

Luo et al., "Controlling Vision-Language Models for Multi-Task Image Restoration" (ICLR 2024), section 3.2:
two symmetric contrastive losses, content embedding against caption and degradation embedding against the word
for the degradation. The robust variant of "Photo-Realistic Image Restoration in the Wild with Controlled
Vision-Language Models" (CVPRW 2024) adds random crops and an L1 distance between the content embedding of the
degraded image and CLIP's embedding of the clean one.

    python -m train.daclip --preset tiny --photos PHOTOS --captions CAPTIONS.csv --output runs/daclip

Run it again with the same options to continue after an interruption.

Ours beside the paper: targets that allow for repeated texts, towers trained from nothing where there is no
pre-trained CLIP, and a linear read-out of log(mu), thrown away afterwards, that keeps the strength in the
degradation embedding. The papers leave open, and we guessed: the embeddings are normalised before the L1
distance, whose mean over dimensions counts with weight 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from gendeg_core.embed.daclip import DaCLIP, Features
from gendeg_core.embed.loading import WORDS, EmbedderConfig, Preprocessing, load_embedder, save_embedder
from gendeg_core.embed.models import build, build_tokenizer, model_config
from gendeg_core.embed.texture import TextureStem
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.types import Degradation
from train.common.checkpoint import claim_run, load_checkpoint, save_checkpoint
from train.common.contrast import Targets, gathered, symmetric_loss
from train.common.data import as_batch, batches, held_source, pair_source, pooled
from train.common.errors import UsageError
from train.common.options import RunOptions, make_accelerator
from train.common.pairs import Numbered
from train.common.pool import PairPool
from train.common.presets import start
from train.common.texture_pool import TOGETHER, TexturePool
from train.common.tracking import Tracker
from train.common.views import resized, training_views

KINDS = list(Degradation)
HELD_PAIRS = 120
LARGEST_SCALE = math.log(100)
MU_FLOOR = 0.02  # added to mu before the logarithm: what lies far below it, nobody sees
TYPICAL_PAIRS = 200  # their statistics of texture count as the usual ones


@dataclass(frozen=True)
class DaclipConfig(RunOptions):
    """One training run.

    Args:
        model: an open_clip model with a Vision Transformer, or one of ours.
        pretrained: open_clip's tag of CLIP weights, or a file of them; empty starts from nothing.
        towers: train CLIP's own towers too, as a start from nothing needs; published: frozen.
        targets: identity, as published, or repeated (see train/common/contrast.py).
        alignment: weight of the L1 distance to the clean image's embedding; the robust variant has 1.
        read_out: weight of the linear read-out of log(mu); published: none.
        content: share of each batch that gets content embeddings and captions; published: all of it.
        crop: chance of a random square crop; the robust variant has 0.8.
        smallest: least side of such a crop in pixels.
        start: folder of weights of this model to go on from; empty for random or CLIP's own.
        keep: weight of these in the mean with the trained ones that is saved, which often does better than
            either (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022); logged numbers are
            those of the trained ones.
        wear: share of the degraded images that have been resized and JPEG-compressed, as files of photos are;
            only with `unchanged`.
        unchanged: show the pairs of the pool whole, as they are and never flipped, so that the fixed
            statistics of a texture stem need computing only once.
        learning_rate, warmup, weight_decay: AdamW, linear warm-up, cosine to 0.
        clip: largest norm of the gradient; 0, as published, for any.
        held_pairs: simulated pairs of held-out photos behind the numbers during training.
    """

    output: Path = Path("runs/daclip")
    model: str = "ViT-B-32"
    pretrained: str = ""
    towers: bool = False

    targets: Targets = "identity"
    alignment: float = 0.0
    read_out: float = 0.0
    content: float = 1.0
    crop: float = 0.0
    smallest: int = 64
    start: Path | None = None
    keep: float = 0.0
    wear: float = 0.0
    unchanged: bool = False

    learning_rate: float = 3e-5
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 0.0
    held_pairs: int = HELD_PAIRS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.crop <= 1:
            raise UsageError(f"crop={self.crop} is no chance; choose a number from 0 to 1")
        if self.unchanged and (self.crop or not self.pool):
            raise UsageError(
                f"pairs cannot stay unchanged with crop={self.crop} and pool={self.pool}; give --crop 0 and "
                "a pool, or --no-unchanged"
            )
        if not 0 <= self.keep < 1 or (self.keep and self.start is None):
            raise UsageError(f"keep={self.keep} must be from 0 to below 1, and 0 without --start")
        if not 0 <= self.wear <= 1 or (self.wear and not self.unchanged):
            raise UsageError(f"wear={self.wear} must be from 0 to 1, and 0 without --unchanged")
        if not 1 <= round(self.content * self.batch) <= self.batch:
            raise UsageError(f"content={self.content} is no share of the batch; choose a number up to 1")
        if not self.pretrained and not self.towers:
            raise UsageError("frozen towers need weights to be frozen at; give --pretrained or --towers")


def tiny() -> DaclipConfig:
    """Seconds on a CPU, for tests."""
    return DaclipConfig(
        model="gendeg_tiny", towers=True, targets="repeated", alignment=1.0, read_out=1.0, crop=0.8,
        smallest=16, size=32, batch=8, steps=20, workers=0, learning_rate=1e-3, warmup=5, held_pairs=12,
        log_every=5, save_every=10, sample_every=20,
    )  # fmt: skip


def embedded() -> DaclipConfig:
    """The shipped weights: from nothing, on a few hundred captioned photos, in two hours of a CPU core.

    The pool of pairs takes 18 GB in the run folder.
    """
    return DaclipConfig(
        model="gendeg_small", towers=True, targets="repeated", alignment=1.0, read_out=1.0, unchanged=True,
        content=0.125, size=256, border=10, pool=40000, workers=2, batch=64, steps=6000, learning_rate=1e-3,
        warmup=200, clip=1.0, log_every=50, save_every=250, sample_every=500,
    )  # fmt: skip


def paper() -> DaclipConfig:
    """DA-CLIP as published: ViT-B-32, four GPUs with 784 images each."""
    return DaclipConfig(
        pretrained="laion2b_s34b_b79k", batch=784, steps=12_000, size=256, precision="bf16", workers=12,
    )  # fmt: skip


def wild() -> DaclipConfig:
    """The robust variant with the larger tower; the tag of its CLIP weights is a guess."""
    return DaclipConfig(
        model="ViT-L-14", pretrained="laion2b_s32b_b82k", alignment=1.0, crop=0.8, batch=784, steps=12_000,
        size=256, precision="bf16", workers=12,
    )  # fmt: skip


PRESETS = {"tiny": tiny, "embedded": embedded, "paper": paper, "wild": wild}


class Student(nn.Module):
    """DA-CLIP and the read-out of log(mu) that exists only in training."""

    def __init__(self, model: DaCLIP, dimensions: int) -> None:
        super().__init__()
        self.model, self.read_out = model, nn.Linear(dimensions, 1)

    def forward(self, images: Tensor, captions: Tensor, words: Tensor, clean: Tensor | None) -> Any:
        """Features of a batch, and its `strength` (B,) as read off the degradation embedding."""
        features = self.model(images, captions, words, clean)
        return features, self.read_out(features.degradation)[:, 0]


def strength(mu: Tensor) -> Tensor:
    """What is read off: the logarithm of mu, since twice as strong looks equally much stronger everywhere."""
    return torch.log(mu + MU_FLOOR)


class Losses(NamedTuple):
    total: Tensor
    content: Tensor
    degradation: Tensor
    alignment: Tensor
    read_out: Tensor


@dataclass(frozen=True)
class Task:
    """What turns a batch into a loss."""

    config: DaclipConfig
    clip: dict[str, Any]  # sizes of the model
    preprocessing: Preprocessing
    tokenizer: Any
    device: torch.device

    def inputs(self, batch: Any, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Degraded images (B, 3, S, S), captions (A, L), words (B, L), and clean images if a loss needs them.

        With `unchanged`, statistics (B, channels, h, w) come in place of images.
        """
        config = self.config
        if config.unchanged:
            clean, degraded = batch["statistics"].to(self.device).float().unbind(1)
        else:
            draws = torch_generator(seed)
            views = training_views(batch, self.preprocessing.size, config.crop, config.smallest, draws)
            degraded, clean = (self.preprocessing.normalise(view).to(self.device) for view in views)
        captions, words = self.texts(batch)
        return degraded, captions, words, clean if config.alignment or config.towers else None

    def texts(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Token ids of the captions (A, L), a share of them, and of the degradations' bare words (B, L)."""
        words = [WORDS[KINDS[int(kind)]] for kind in batch["degradation"]]
        captions = batch["caption"][: round(self.config.content * len(words))]
        return self.tokenizer(captions).to(self.device), self.tokenizer(words).to(self.device)

    def losses(self, features: Features, read: Tensor, captions: Tensor, words: Tensor, mu: Tensor) -> Losses:
        config, scale = self.config, features.scale
        caption, all_captions = gathered(features.caption), gathered(captions)
        content = symmetric_loss(gathered(features.content), caption, scale, all_captions, config.targets)
        degradation = symmetric_loss(
            gathered(features.degradation),
            gathered(features.degradation_text),
            scale,
            gathered(words),
            config.targets,
        )
        alignment = content.new_zeros(())
        if features.clean is not None:
            alignment = F.l1_loss(features.content, features.clean.detach())
        if features.clean is not None and config.towers:  # CLIP itself learns what the photo shows
            clean = symmetric_loss(gathered(features.clean), caption, scale, all_captions, config.targets)
            content = (content + clean) / 2
        error = (read - strength(mu.to(self.device))).square().mean()
        total = content + degradation + config.alignment * alignment + config.read_out * error
        return Losses(total, content, degradation, alignment, error)


def make_model(config: DaclipConfig) -> tuple[DaCLIP, dict[str, Any]]:
    """The model to train and its sizes.

    Raises:
        UsageError: the name or the weights cannot be used.
    """
    import open_clip

    try:
        sizes = model_config(config.model)
        side, stem = sizes["vision_cfg"]["image_size"], sizes.get("stem")
        if config.unchanged and stem is None:
            raise ValueError("it has no texture stem; choose gendeg_small, or --no-unchanged")
        if config.unchanged and config.size != side:
            raise ValueError(f"its images have {side} pixels, not {config.size}; give --size {side}")
        if config.pretrained and stem is not None:
            raise ValueError("there is no CLIP with its stem; leave --pretrained out")
        if not config.pretrained:
            return build(sizes, frozen=not config.towers), sizes
        clip = open_clip.create_model(config.model, pretrained=config.pretrained)
        return DaCLIP(clip, frozen=not config.towers), sizes
    except (ValueError, RuntimeError, OSError) as error:
        raise UsageError(f"--model {config.model}: {error}") from error


def settle_stems(task: Task, model: DaCLIP, pairs: Numbered) -> None:
    """Tell the texture stems, where there are any, which statistics are usual."""
    stems = [tower.conv1 for tower in (model.clip.visual, model.visual_control)]
    if not isinstance(stems[0], TextureStem):
        return
    batch = as_batch(pairs, task.config.seed, TYPICAL_PAIRS)
    degraded = task.inputs(batch, task.config.seed)[0]
    parts = degraded.split(TOGETHER)
    usual = degraded if task.config.unchanged else torch.cat([stems[0].statistics(part) for part in parts])
    for stem in stems:
        stem.standardise(usual)


def go_on_from(folder: Path, model: DaCLIP) -> None:
    """Give the model the weights in `folder`.

    Raises:
        UsageError: there are none, or they belong to another model.
    """
    try:
        state = load_embedder(folder, "cpu").model.state_dict()
        model.load_state_dict(state)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--start {folder}: {error}") from error


def make_optimiser(config: DaclipConfig, student: nn.Module) -> tuple[Any, Any]:
    """AdamW without decay of norms, biases and single numbers; linear warm-up, then a cosine to 0."""
    trained = [p for p in student.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, config.learning_rate, betas=(0.9, 0.98), eps=1e-6)

    def factor(step: int) -> float:
        if step < config.warmup:
            return (step + 1) / config.warmup
        part = (step - config.warmup) / max(config.steps - config.warmup, 1)
        return (1 + math.cos(math.pi * min(part, 1))) / 2

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def main(config: DaclipConfig) -> None:
    accelerator = make_accelerator(config)
    source = pair_source(config)
    torch.manual_seed(config.seed)  # initial weights only
    model, sizes = make_model(config)
    model.to(accelerator.device)
    claim_run(config.output, config, accelerator)
    preprocessing = Preprocessing(sizes["vision_cfg"]["image_size"])
    pairs: Numbered = pooled(config, source, None, accelerator)
    if config.unchanged:
        stem = model.visual_control.conv1
        assert isinstance(pairs, PairPool)
        folder = config.output / "pool"
        pairs = TexturePool(pairs, stem, preprocessing.normalise, config.wear, folder, accelerator)
    held = as_batch(held_source(config), config.seed, config.held_pairs)

    task = Task(config, sizes, preprocessing, build_tokenizer(sizes), accelerator.device)
    if config.start is None:
        settle_stems(task, model, pairs)
    else:
        go_on_from(config.start, model)
    bare = Student(model, sizes["embed_dim"])
    optimiser, schedule = make_optimiser(config, bare)
    student, optimiser = accelerator.prepare(bare, optimiser)
    accelerator.register_for_checkpointing(schedule)
    resumed = load_checkpoint(config.output, accelerator)
    first = resumed[0] if resumed else 0
    tracker = Tracker(config.output, first, accelerator.is_main_process, tensorboard=config.tensorboard)
    micro_batches = batches(config, pairs, accelerator, first)

    for step in range(first, config.steps):
        sums = torch.zeros(len(Losses._fields), device=accelerator.device)
        for micro in range(config.gradient_accumulation):
            seed = sample_seed(config.seed, f"views {step} {micro} {accelerator.process_index}")
            torch.manual_seed(seed)  # dropout
            batch = next(micro_batches)
            degraded, captions, words, clean = task.inputs(batch, seed)
            with accelerator.accumulate(student):
                features, read = student(degraded, captions, words, clean)
                losses = task.losses(features, read, captions, words, batch["mu"].float())
                accelerator.backward(losses.total)
                if config.clip and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(student.parameters(), config.clip)
                optimiser.step()
                optimiser.zero_grad()
                with torch.no_grad():
                    model.logit_scale.clamp_(0, LARGEST_SCALE)
            sums += torch.stack(losses).detach() / config.gradient_accumulation
        schedule.step()
        done = step + 1
        if done % config.log_every == 0:
            means: Any = accelerator.reduce(sums, "mean")
            numbers = dict(zip(Losses._fields, means.tolist(), strict=True))
            numbers["loss"] = numbers.pop("total")
            rate = float(schedule.get_last_lr()[0])
            tracker.log(done, **numbers, scale=model.logit_scale.exp().item(), learning_rate=rate)
        if done % config.save_every == 0 or done == config.steps:
            save_checkpoint(config.output, accelerator, done)
        if done % config.sample_every == 0 or done == config.steps:
            tracker.log(done, **held_out_numbers(bare, task, held))
    if accelerator.is_main_process:
        save(config, model, task, accelerator)
    accelerator.end_training()


@torch.no_grad()
def held_out_numbers(student: Student, task: Task, held: Any) -> dict[str, float]:
    """Zero-shot accuracy on held-out photos, in all and per degradation; correlation of the strength read."""
    student.eval()
    images = task.preprocessing.normalise(resized(held["degraded"].float() / 255, task.preprocessing.size))
    words = task.tokenizer([WORDS[kind] for kind in KINDS]).to(task.device)
    texts = F.normalize(student.model.encode_text(words), dim=-1)
    parts = [student.model.encode_degradation(part)[0] for part in images.to(task.device).split(32)]
    embeddings = F.normalize(torch.cat(parts), dim=-1)
    right = ((embeddings @ texts.T).argmax(-1).cpu() == held["degradation"]).float()
    read = student.read_out(embeddings)[:, 0].cpu().double()
    student.train()
    numbers = {"zero_shot_accuracy": right.mean().item()}
    for kind, degradation in enumerate(KINDS):
        of_kind = held["degradation"] == kind
        if of_kind.any():
            numbers[f"zero_shot_{degradation}"] = right[of_kind].mean().item()
    if task.config.read_out:
        both = torch.stack([read, strength(held["mu"].double())])
        numbers["strength_correlation"] = torch.corrcoef(both)[0, 1].item()
    return numbers


def save(config: DaclipConfig, model: DaCLIP, task: Task, accelerator: Accelerator) -> None:
    if config.start is not None and config.keep:
        before, after = load_embedder(config.start, "cpu").model.state_dict(), model.state_dict()
        mixed = {name: value.lerp(before[name].to(value), config.keep) for name, value in after.items()}
        model.load_state_dict(mixed)
    folder = config.output / "weights"
    save_embedder(model, EmbedderConfig(task.clip, task.preprocessing), folder)
    accelerator.print(f"weights are in {folder}")


if __name__ == "__main__":
    start(main, PRESETS, __doc__)
