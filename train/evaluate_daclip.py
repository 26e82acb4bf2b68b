"""Measure DA-CLIP weights on held-out photos: is the degradation recognised, can its strength be read off?

    python -m train.evaluate_daclip --photos PHOTOS --captions captions.csv --output report [--real FOLDER ..]

Simulated degradations of held-out photos: zero-shot accuracy by the words, and linear probes for the
degradation, for mu and for log(mu), which learn on some of these photos and are judged on the others. Photos
and pairs given as `--real` (folders named after their degradation): a confusion table of what the words say,
good or bad. Writes report.json, for the record of the weights, and embeddings.parquet, for the map.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gendeg_core.commands.embed import source_items
from gendeg_core.embed.loading import BATCH, Embedder, load_embedder
from gendeg_core.embed.probes import confusion, probe_classes, probe_value
from gendeg_core.embed.table import EmbeddingTable, write_table
from gendeg_core.types import Degradation
from train.common.pairs import Pair, SimulatedPairs
from train.common.photos import list_photos
from train.daclip import MU_FLOOR

MU_BANDS = (0, 0.01, 0.03, 0.06, 0.12, 0.7)  # from what nobody sees to what nobody overlooks
NAMES = [str(degradation) for degradation in Degradation]


@dataclass(frozen=True)
class EvaluationConfig:
    """What to measure.

    Args:
        photos, captions: the folder and CSV given to training; only its held-out photos are used.
        output: folder of the report.
        weights: folder of weights or a published checkpoint; default the shipped weights.
        real: folders of photos or pairs of real degradations.
        pairs: simulated pairs of the held-out photos.
        size: side of their crops in pixels.
        border: pixels cut off every photo's edge.
    """

    photos: Path
    output: Path
    captions: Path | None = None
    weights: Path | None = None
    real: tuple[Path, ...] = ()
    pairs: int = 1200
    size: int = 256
    border: int = 10
    seed: int = 0


def simulated(config: EvaluationConfig) -> list[Pair]:
    photos = list_photos(config.photos, config.captions, held=True, border=config.border)
    source = SimulatedPairs(photos, config.size)
    return [source.pair(config.seed, k) for k in range(config.pairs)]


def embedded(pairs: Sequence[Pair], embedder: Embedder) -> EmbeddingTable:
    """The degraded images as a table; `path` is the number of the pair."""
    content, degradation = [], []
    for first in range(0, len(pairs), BATCH):
        images = torch.stack([pair["degraded"] for pair in pairs[first : first + BATCH]]).float() / 255
        c, d = embedder.embed(images)
        content.append(c)
        degradation.append(d)
    kinds, score = embedder.classify(torch.cat(degradation))
    return EmbeddingTable(
        path=[str(number) for number in range(len(pairs))],
        content=torch.cat(content).numpy(),
        degradation=torch.cat(degradation).numpy(),
        predicted=[str(kind) for kind in kinds],
        score=score.numpy(),
        mu=np.array([pair["mu"] for pair in pairs]),
        sigma=np.array([pair["sigma"] for pair in pairs]),
        set=["simulated"] * len(pairs),
        label=[NAMES[pair["degradation"]] for pair in pairs],
        weights=embedder.weights,
    )


def numbers_of(table: EmbeddingTable, groups: Sequence[str]) -> dict[str, Any]:
    """Zero-shot confusion and the probes; `groups` tells which rows show the same photo."""
    assert table.label is not None
    assert table.mu is not None
    directions = table.degradation / np.linalg.norm(table.degradation, axis=1, keepdims=True)
    mu, log_mu = (
        dataclasses.asdict(probe_value(directions, values, names=table.label, groups=groups))
        for values in (table.mu, np.log(table.mu + MU_FLOOR))
    )
    return {
        "zero_shot": recognised(table.label, table.predicted),
        "zero_shot_by_mu": by_strength(table),
        "probe": dataclasses.asdict(probe_classes(directions, table.label, groups=groups)),
        "mu": mu,
        "log_mu": log_mu,
    }


def by_strength(table: EmbeddingTable) -> list[dict[str, float]]:
    """Zero-shot accuracy within each band of mu."""
    assert table.label is not None
    assert table.mu is not None
    right = np.array([t == p for t, p in zip(table.label, table.predicted, strict=True)])
    found = []
    for low, high in itertools.pairwise(MU_BANDS):
        inside = (table.mu >= low) & (table.mu < high)
        if inside.any():
            accuracy = float(right[inside].mean())
            found.append({"from": low, "to": high, "images": int(inside.sum()), "accuracy": accuracy})
    return found


def recognised(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    """Accuracy and the confusion table [true][predicted]."""
    right = sum(t == p for t, p in zip(truth, predicted, strict=True))
    table = confusion(list(truth), list(predicted), NAMES)
    return {"accuracy": right / len(truth), "images": len(truth), "names": NAMES, "confusion": table}


def on_real(folder: Path, embedder: Embedder) -> dict[str, Any]:
    """What the words say of photos or pairs whose folders name their degradation."""
    failures: list[str] = []
    _, items = source_items(folder, None, failures)
    truth, predicted = [], []
    for image, note in items:
        if note.label:
            kinds, _ = embedder.classify(embedder.embed(image[None])[1])
            truth.append(note.label)
            predicted.append(str(kinds[0]))
    for sentence in failures:
        print(sentence)
    if not truth:
        raise ValueError(f"no photo in {folder} lies in a folder named after its degradation")
    return recognised(truth, predicted)


def confusion_table(found: dict[str, Any]) -> str:
    """A confusion table as Markdown."""
    lines = ["| true \\ predicted | " + " | ".join(NAMES) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for name, row in zip(NAMES, found["confusion"], strict=True):
        lines.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def main(config: EvaluationConfig) -> None:
    config.output.mkdir(parents=True, exist_ok=True)
    embedder = load_embedder(config.weights)
    pairs = simulated(config)
    table = embedded(pairs, embedder)
    write_table(table, config.output / "embeddings.parquet")
    report = numbers_of(table, [pair["caption"] for pair in pairs])
    print(f"zero-shot accuracy {report['zero_shot']['accuracy']:.3f}\n{confusion_table(report['zero_shot'])}")
    for band in report["zero_shot_by_mu"]:
        print("mu {from} to {to}: {accuracy:.3f} of {images}".format(**band))
    print(f"probe accuracy {report['probe']['accuracy']:.3f}")
    for name in ("mu", "log_mu"):
        print(f"{name}: R2 {report[name]['r2']:.3f}, Spearman {report[name]['spearman']:.3f}")
    for folder in config.real:
        found = on_real(folder, embedder)
        report[f"real_{folder.name}"] = found
        print(f"{folder.name}: accuracy {found['accuracy']:.3f}\n{confusion_table(found)}")
    facts = {
        "weights": embedder.weights,
        "config": dataclasses.asdict(config),
        "hardware": f"{platform.machine()}, {os.cpu_count()} CPU cores, torch {torch.__version__}",
        **report,
    }
    (config.output / "report.json").write_text(json.dumps(facts, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main(tyro.cli(EvaluationConfig, description=__doc__))
