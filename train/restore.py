"""Train a restorer: NAFNet, PromptIR or the Swin network, on any mix of pairs.

    python -m train.restore --model nafnet --preset tiny --photos PHOTOS --output runs/nafnet
    python -m train.restore --model swin --preset embedded --pairs GENDS rain=RAIN --output runs/swin
    accelerate launch -m train.restore --model promptir --preset paper --pairs GENDS --output runs/promptir

Every source takes turns over its degradations. Run it again with the same options to continue after an
interruption.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.data import default_collate

from train.common.checkpoint import claim_run, load_checkpoint, save_checkpoint
from train.common.crops import CroppedPairs, Moves
from train.common.data import batches, held_source, pair_source, pooled, stored_pairs
from train.common.errors import UsageError
from train.common.held_pairs import held_numbers, held_sheet, restore_held
from train.common.network_folder import save_network
from train.common.options import RunOptions, make_accelerator
from train.common.pairs import MixedPairs, PairSource, StoredPairs
from train.common.pool import COMPLETE, PairPool
from train.common.presets import start
from train.common.restoration import CAUTION, PAPER, SHORT, Loss, Model, as_images, loss_function, rate_factor
from train.common.tracking import Speedometer, Tracker, make_speedometer


@dataclass(frozen=True)
class RestoreConfig(RunOptions):
    """One training run.

    Args:
        model: which network; its recipe sets the defaults of the presets.
        size_of_model: tiny, embedded, paper, or a published NAFNet such as GoPro-width32.
        start: folder of weights of that network to go on from; empty for random ones.
        pools: pools of pairs that another run has made, as PATH or PATH@COUNT for the first so many; several
            are drawn from in proportion to their numbers. Instead of photos and pairs.
        scene: side in pixels of the pairs that crops are cut from; simulated degradations span all of it, and
            stored pairs that are smaller are taken as they are.
        moves: see `train.common.crops.CroppedPairs`.
        held: pairs to watch the training with: a pool, or stored pairs as in `pairs`. Without, simulators on
            the held-out photos; without photos either, the training pairs, and the numbers say so.
        held_pairs: how many of them.
        loss: psnr (negative PSNR), bounded_psnr (that up to 40 dB), cautious (with SSIM, and harm counts
            more than gain) or l1.
        caution: how many times more harm counts in the cautious loss.
        warmup: share of the run in which the learning rate rises.
        horizon: where its cosine reaches final_rate, in lengths of the run.
        clip: bound on the norm of the gradient; 0 for none.
        ema: decay of the averaged weights, which are the ones that are kept; 0 keeps the last ones.
    """

    output: Path = Path("runs/restore")
    model: Model = "nafnet"
    size_of_model: str = "paper"
    start: Path | None = None
    pools: tuple[str, ...] = ()
    scene: int = 256
    moves: Moves = "mirror"
    held: str = ""
    held_pairs: int = 24

    loss: Loss = "l1"
    caution: float = CAUTION
    learning_rate: float = 1e-3
    final_rate: float = 1e-7
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: float = 0.0
    horizon: float = 1.0
    clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scene < self.size:
            raise UsageError(f"scene={self.scene} is smaller than the crops of size={self.size}; enlarge it")
        if self.pools and (self.pairs or self.photos):
            raise UsageError("pools replace --photos and --pairs; give either the one or the others")
        if not 0 <= self.warmup < 1 or self.horizon < 1:
            raise UsageError(
                f"warmup={self.warmup} must be from 0 to below 1, and horizon={self.horizon} at least 1"
            )
        if self.held_pairs < 1:
            raise UsageError(f"held_pairs={self.held_pairs} must be at least 1")


def tiny(model: Model = "nafnet") -> RestoreConfig:
    """Seconds on a CPU, for tests."""
    recipe = {**SHORT[model], "size": 32, "batch": 8, "steps": 240}
    return RestoreConfig(
        model=model, size_of_model="tiny", scene=48, pool=96, workers=0, log_every=20, save_every=60,
        sample_every=240, ema=0.9, held_pairs=12, **recipe,
    )  # fmt: skip


def embedded(model: Model = "nafnet") -> RestoreConfig:
    """The shipped weights: a few minutes on one CPU core."""
    recipe = {**SHORT[model], "size": 160, "batch": 4, "steps": 1000}
    return RestoreConfig(
        model=model, size_of_model="embedded", workers=2, border=10, ema=0.99, save_every=200,
        sample_every=500, **recipe,
    )  # fmt: skip


def paper(model: Model = "nafnet") -> RestoreConfig:
    """The published network and recipe; batches are per GPU (NAFNet: 8, PromptIR: 4)."""
    return RestoreConfig(
        model=model, size_of_model="paper", scene=512, precision="bf16", save_every=5000, sample_every=5000,
        **PAPER[model],
    )  # fmt: skip


PRESETS = {"tiny": tiny, "embedded": embedded, "paper": paper}


def build_network(config: RestoreConfig) -> nn.Module:
    """The network to train, in single precision; fresh weights follow from torch's seed."""
    from gendeg_core.restore.zoo import build

    try:
        network = build(config.model, config.size_of_model)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if config.model == "nafnet" and network.config["train_size"]:
        # it pools over windows of this size when it restores larger images
        network.register_to_config(train_size=config.size)
    if config.start is not None:
        copy_weights(network, config.start)
    return network


def copy_weights(network: Any, folder: Path) -> None:
    """Give the network the weights in `folder`, whatever their precision.

    A part that these have nothing of, such as the refinement of an older Swin network, keeps its fresh ones.
    """
    try:
        weights = type(network).from_pretrained(folder).state_dict()
        known = {name.partition(".")[0] for name in weights}
        fresh = {
            name: value for name, value in network.state_dict().items() if name.partition(".")[0] not in known
        }
        network.load_state_dict({**fresh, **weights})
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"{folder} holds no weights of this network ({reason}); name other ones") from error


def source_of(config: RestoreConfig) -> PairSource:
    """The pairs to train on, `scene` pixels wide, or smaller where stored pairs are."""
    if not config.pools:
        smallest = None if config.pool else config.size  # the pairs of a pool have one size
        return pair_source(replace(config, size=config.scene), balanced=True, smallest=smallest)
    pools = [stored_pool(option) for option in config.pools]
    return MixedPairs(pools, [pool.length for pool in pools]) if len(pools) > 1 else pools[0]


def stored_pool(option: str) -> PairPool:
    """The pool that PATH or PATH@COUNT names."""
    path, at, count = option.rpartition("@")
    if not at:
        return PairPool.stored(Path(option))
    if not count.isdecimal():
        raise UsageError(f"--pools {option!r} is not PATH or PATH@COUNT")
    return PairPool.stored(Path(path), int(count))


def watched(config: RestoreConfig) -> tuple[str, PairSource]:
    """What the training is watched with: "held-out" or "training", and such pairs."""
    if config.held:
        if (Path(config.held) / COMPLETE).is_file():
            return "held-out", PairPool.stored(Path(config.held))
        reader, _ = stored_pairs(config.held, "--held")
        return "held-out", StoredPairs(reader, config.scene, balanced=True, smallest=config.size)
    if config.photos is not None:
        return "held-out", held_source(replace(config, size=config.scene))
    return "training", source_of(config)


def held_batch(config: RestoreConfig) -> Any:
    """The pairs to watch as one batch, cut from the middle of their scenes."""
    _, source = watched(config)
    pairs = [source.pair(config.seed, k) for k in range(config.held_pairs)]
    for pair in pairs:
        for name in ("clean", "degraded"):
            height, width = pair[name].shape[-2:]
            top, left = (height - config.size) // 2, (width - config.size) // 2
            pair[name] = pair[name][..., top : top + config.size, left : left + config.size].contiguous()
    return default_collate(pairs)


@dataclass(frozen=True)
class Training:
    """All that the loop works with."""

    accelerator: Accelerator
    pairs: PairSource
    watched: str  # what `held` is: "held-out", or "training" where nothing is held out
    held: Any
    bare: nn.Module
    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    ema: EMAModel
    first: int  # steps that an interrupted run has done

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The network under its averaged weights."""
        parameters = list(self.bare.parameters())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.bare.eval()
        try:
            yield self.bare
        finally:
            self.bare.train()
            self.ema.restore(parameters)


def set_up(config: RestoreConfig) -> Training:
    accelerator = make_accelerator(config, unused=config.model == "promptir")
    source = source_of(config)
    torch.manual_seed(config.seed)  # initial weights only
    bare = build_network(config).train()
    claim_run(config.output, config, accelerator)
    wide = replace(config, size=config.scene)
    pairs = CroppedPairs(pooled(wide, source, None, accelerator), config.size, config.moves)
    optimiser = torch.optim.AdamW(
        bare.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    factor = functools.partial(
        rate_factor, steps=config.steps, warmup=config.warmup, horizon=config.horizon,
        final=config.final_rate / config.learning_rate,
    )  # fmt: skip
    # Not prepared by accelerate, which would step it once per process.
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    model, optimiser = accelerator.prepare(bare, optimiser)
    ema = EMAModel(list(bare.parameters()), decay=config.ema)
    accelerator.register_for_checkpointing(schedule)
    first = 0
    if resumed := load_checkpoint(config.output, accelerator):
        first, averages = resumed
        ema.load_state_dict(averages)
    ema.to(accelerator.device)
    held = watched(config)[0], held_batch(config)
    return Training(accelerator, pairs, *held, bare, model, optimiser, schedule, ema, first)


def main(config: RestoreConfig) -> None:
    run = set_up(config)
    accelerator, model, optimiser = run.accelerator, run.model, run.optimiser
    tracker = Tracker(config.output, run.first, accelerator.is_main_process, tensorboard=config.tensorboard)
    speed = speedometer(config, run)
    loss_of = loss_function(config.loss, config.caution)
    micro_batches = batches(config, run.pairs, accelerator, run.first)

    for step in range(run.first, config.steps):
        total = torch.zeros((), device=accelerator.device)
        for _ in range(config.gradient_accumulation):
            with accelerator.accumulate(model):
                batch = next(micro_batches)
                degraded, clean = (
                    as_images(batch[name], accelerator.device) for name in ("degraded", "clean")
                )
                loss = loss_of(model(degraded).float(), clean, degraded)
                accelerator.backward(loss)
                if config.clip and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), config.clip)
                optimiser.step()
                optimiser.zero_grad()
            total += loss.detach() / config.gradient_accumulation
            speed.add(config.batch * accelerator.num_processes)
        run.schedule.step()
        run.ema.step(list(run.bare.parameters()))
        done = step + 1
        if done % config.log_every == 0:
            mean = accelerator.reduce(total, "mean").item()  # pyright: ignore[reportAttributeAccessIssue]
            tracker.log(done, loss=mean, learning_rate=float(run.schedule.get_last_lr()[0]), **speed.read())
        if done % config.save_every == 0 or done == config.steps:
            save_checkpoint(config.output, accelerator, done, run.ema.state_dict())
        if done % config.sample_every == 0 or done == config.steps:
            log_held(run, tracker, done)
    if accelerator.is_main_process:
        with run.averaged() as network:
            save_network(network, config.output / "weights")
        print(f"weights are in {config.output / 'weights'}")
    accelerator.end_training()


def log_held(run: Training, tracker: Tracker, done: int) -> None:
    """PSNR and SSIM on the watched pairs before and after restoration, and a sheet of both."""
    if run.accelerator.is_main_process:
        with run.averaged() as network:
            restored = restore_held(network, run.held, run.accelerator.device)
        prefix = "" if run.watched == "held-out" else f"{run.watched}_"
        numbers = {f"{prefix}{name}": value for name, value in held_numbers(restored, run.held).items()}
        tracker.log(done, **numbers)
        tracker.picture(done, run.watched, held_sheet(restored, run.held))
    run.accelerator.wait_for_everyone()


def speedometer(config: RestoreConfig, run: Training) -> Speedometer:
    """Counts images and relates them to what this device was measured to be able to do."""
    blank = torch.zeros(1, 3, config.size, config.size, device=run.accelerator.device)
    return make_speedometer(run.accelerator, run.bare, blank)


def asked_model() -> Model:
    """The model that the command line names: the presets follow its recipe."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--model", choices=list(PAPER), default="nafnet")
    return parser.parse_known_args()[0].model


if __name__ == "__main__":
    chosen = asked_model()
    start(main, {name: functools.partial(preset, chosen) for name, preset in PRESETS.items()}, __doc__)
