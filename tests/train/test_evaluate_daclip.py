"""The report on DA-CLIP weights says what the embedder says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendeg_core.embed.table import read_table
from tests.embed.tiny_daclip import tiny_weights
from tests.train.drawn import draw_photo
from train import evaluate_daclip


def test_the_report_counts_every_image(photos: tuple[Path, Path], tmp_path: Path):
    for kind, number in (("haze", 1), ("haze", 2), ("snow", 3)):
        (tmp_path / "real" / kind).mkdir(parents=True, exist_ok=True)
        draw_photo(number).save(tmp_path / "real" / kind / f"{number}.png")
    weights = tiny_weights(tmp_path / "weights")
    config = evaluate_daclip.EvaluationConfig(
        photos[0], tmp_path / "report", photos[1], weights, (tmp_path / "real",), pairs=48, size=32, border=0
    )
    evaluate_daclip.main(config)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    table = read_table(tmp_path / "report" / "embeddings.parquet")
    assert len(table) == 48
    right = sum(t == p for t, p in zip(table.label or [], table.predicted, strict=True))
    assert report["zero_shot"]["accuracy"] == pytest.approx(right / 48)
    assert [sum(row) for row in report["zero_shot"]["confusion"]] == [8] * 6  # true down, predicted across
    bands = report["zero_shot_by_mu"]
    assert sum(band["images"] for band in bands) == 48
    assert sum(band["images"] * band["accuracy"] for band in bands) == pytest.approx(right)
    assert [sum(row) for row in report["real_real"]["confusion"]] == [2, 0, 1, 0, 0, 0]
    assert report["weights"].startswith("weights@")
    assert {"accuracy", "confusion"} <= report["probe"].keys()
    assert {"r2", "spearman", "spearman_within"} <= report["mu"].keys() & report["log_mu"].keys()
    assert report["mu"]["r2"] != report["log_mu"]["r2"]


def test_photos_without_a_known_degradation_are_refused(tmp_path: Path):
    from gendeg_core.embed.loading import load_embedder

    (tmp_path / "misc").mkdir()
    draw_photo(1).save(tmp_path / "misc" / "1.png")
    embedder = load_embedder(tiny_weights(tmp_path / "weights"), "cpu")
    with pytest.raises(ValueError, match="lies in a folder named after its degradation"):
        evaluate_daclip.on_real(tmp_path / "misc", embedder)
