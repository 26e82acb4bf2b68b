"""Store trained weights for shipping: half precision, which costs less than 1/255 in any pixel.

python -m train.export runs/embedded/weights assets/weights/gendeg
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from gendeg_core.generate.pipeline import GenDegPipeline


@dataclass(frozen=True)
class ExportConfig:
    """What to store where.

    Args:
        weights: pipeline folder that a training script wrote.
        output: folder to write; must not hold other weights.
        steps: default number of sampling steps to store; 0 keeps the pipeline's.
        guidance: default weight of text and intensity to store; 0 keeps the pipeline's.
        detail_size: short side up to which patterns are painted again finer; -1 keeps the pipeline's.
    """

    weights: Annotated[Path, tyro.conf.Positional]
    output: Annotated[Path, tyro.conf.Positional]
    steps: int = 0
    guidance: float = 0.0
    detail_size: int = -1


def main(config: ExportConfig) -> None:
    if list(config.output.glob("*")):
        raise ValueError(f"{config.output} is not empty; choose another folder or remove it first")
    pipeline = GenDegPipeline.from_pretrained(config.weights, dtype=torch.float16)
    if config.steps:
        pipeline.register_to_config(num_inference_steps=config.steps)
    if config.guidance:
        pipeline.register_to_config(guidance_scale=config.guidance)
    if config.detail_size >= 0:
        pipeline.register_to_config(detail_size=config.detail_size)
    pipeline.save_pretrained(config.output, safe_serialization=True)
    for path in config.output.rglob("*.json"):
        drop_origin(path)
    size = sum(path.stat().st_size for path in config.output.rglob("*.safetensors"))
    print(f"{config.output}: {size / 1e6:.1f} MB")


def drop_origin(path: Path) -> None:
    """Take out of a configuration where on this machine it was loaded from."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(settings, dict) and settings.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(ExportConfig, description=__doc__))
