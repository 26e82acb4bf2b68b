"""The options of the restoration experiment, and its two sizes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from gendeg_core.types import Degradation
from train.common.errors import UsageError
from train.common.restoration import CAUTION, PAPER, Loss, Model

# The simulator family of each degradation that existing data shows; all the others are left for the tests.
EXISTING: dict[Degradation, str] = {
    Degradation.HAZE: "homogeneous",
    Degradation.RAIN: "streaks",
    Degradation.SNOW: "flakes",
    Degradation.MOTION_BLUR: "shake",
    Degradation.LOW_LIGHT: "sensor",
    Degradation.RAINDROP: "drops",
}


@dataclass(frozen=True)
class ExperimentConfig:
    """Three networks, three sorts of training data, several seeds.

    Args:
        photos, captions: clean photos, and a CSV with columns file, caption, suitable.
        output: working folder: data, runs, rows.
        results: folder for the tables and the figure; the working folder itself if empty.
        weights: folder to put the shipped weights of seed 0 into; none if empty.
        real_pairs: pairs that are never trained on, in folders DEGRADATION/SET/{lq,gt}.
        generator: GenDeg weights; the shipped ones if empty.
        generator_saw: what the generator was trained on, if its weights come with no record.
        models, seeds: which networks, and how often each is trained.
        pairs: of existing data, and of GenDS, each.
        scene: short side of the photos, and side of the pairs, in pixels.
        border: pixels cut off every photo's edge.
        existing_every: existing data shows every so many-th training photo; 1 for all.
        only: train on this sort of data alone, to go on with its weights; the tables then have nothing to
            compare it with but the degraded input.
        generated_alone: train on what the generator makes alone, too, not only on existing data and on both.
        scaling_model, scaling: network and numbers of synthetic pairs for the curve; 0 and `pairs` are there
            anyway.
        size_of_model, size, batch: of the networks, of their crops in pixels, of a step.
        loss, caution: of all runs, see `train.restore`.
        start: folder of weights, MODEL_existing and MODEL_gends, that the runs go on from instead of random
            ones.
        rate: factor on the learning rates of the recipes.
        minutes: of one core per run on average; the number of steps, the same for all, follows from a
            measurement. Or give `steps`.
        test_photos: held-out photos per degradation in the tests; test_size: side of the middle of a real
            pair that is tested.
        jobs: runs at a time, one thread each; 0 works in this process.
        hardware: what to print under the tables; found out if empty.
    """

    photos: Path = Path("photos")
    output: Path = Path("runs/restoration")
    captions: Path | None = None
    results: Path | None = None
    weights: Path | None = None
    real_pairs: Path | None = None
    generator: Path | None = None
    generator_saw: str = ""

    models: tuple[Model, ...] = ("nafnet", "promptir", "swin")
    seeds: tuple[int, ...] = (0, 1)
    pairs: int = 1200
    scene: int = 256
    border: int = 10
    existing_every: int = 2
    only: Literal["existing", "both"] | None = None
    generated_alone: bool = True
    scaling_model: Model = "swin"
    scaling: tuple[int, ...] = (150, 450)

    size_of_model: str = "embedded"
    size: int = 160
    batch: int = 4
    loss: Loss = "bounded_psnr"
    caution: float = CAUTION
    start: Path | None = None
    rate: float = 1.0
    minutes: float = 6.0
    steps: int = 0
    test_photos: int = 20
    test_size: int = 256
    jobs: int = 2
    hardware: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self.models if name not in PAPER]
        if unknown or not self.models:
            raise UsageError(f"models={self.models} must be some of {', '.join(PAPER)}")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise UsageError(f"seeds={self.seeds} must name each seed once, and one at least")
        kinds = len(Degradation)
        for name, count in (("pairs", self.pairs), *(("scaling", count) for count in self.scaling)):
            if count < kinds or count > self.pairs:
                raise UsageError(f"{name}={count} must be from {kinds} to the {self.pairs} pairs")
        if self.scene < self.size:
            raise UsageError(f"scene={self.scene} is smaller than the crops of size={self.size}; enlarge it")
        if self.existing_every < 1:
            raise UsageError(f"existing_every={self.existing_every} must be at least 1, for all photos")
        if self.rate <= 0:
            raise UsageError(f"rate={self.rate} must be above 0")
        self._check_going_on()
        if self.steps < 1 and self.minutes <= 0:
            raise UsageError(f"minutes={self.minutes} must be above 0, or give --steps")

    def _check_going_on(self) -> None:
        alone = self.generated_alone or bool(self.scaling)
        if self.start is not None and alone:
            raise UsageError(
                f"start={self.start} has weights for existing data and for both, no others; add "
                "--no-generated-alone and --scaling without a number"
            )
        if self.only is not None and alone:
            raise UsageError(
                f"only={self.only} leaves no other data; add --no-generated-alone and --scaling without a "
                "number"
            )
        if self.start is not None and self.start == self.weights:
            raise UsageError(
                f"weights={self.start} would replace what the runs start from; name another folder"
            )

    @property
    def data(self) -> Path:
        return self.output / "data"


def tiny() -> ExperimentConfig:
    """Under a minute on a CPU, for tests."""
    return ExperimentConfig(
        models=("nafnet",), scaling_model="nafnet", pairs=12, scene=48, border=0, scaling=(6,),
        size_of_model="tiny", size=32, batch=4, steps=10, test_photos=1, test_size=64, jobs=0,
    )  # fmt: skip


def embedded() -> ExperimentConfig:
    """The shipped weights and the tables of the repository: hours on two CPU cores."""
    return ExperimentConfig()


FOLDERS = "--photos PHOTOS --captions captions.csv --real-pairs PAIRS --output runs/restoration"
NOT_NAMED = {
    "photos",
    "captions",
    "real_pairs",
    "output",
    "results",
    "weights",
    "minutes",
    "jobs",
    "hardware",
}


def command_of(config: ExperimentConfig, steps: int) -> str:
    """The command that repeats an experiment: what differs from the preset, and the steps it took."""
    usual, parts = embedded(), ["python -m train.restore_experiment --preset embedded", FOLDERS]
    for field in fields(config):
        value = steps if field.name == "steps" else getattr(config, field.name)
        if field.name in NOT_NAMED or value == getattr(usual, field.name):
            continue
        option = field.name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, Path):
            parts.append(f"--{option} {option.upper()}")
        else:
            words = value if isinstance(value, tuple) else (value,)
            parts.append(" ".join([f"--{option}", *(shlex.quote(str(word)) for word in words)]))
    return " ".join(parts)
