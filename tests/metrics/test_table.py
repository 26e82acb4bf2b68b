"""Summaries and tables: means of sets and degradations, gains, intervals, words where there is no number."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gendeg_core.metrics.choice import COLUMNS, NAMES, Metrics, Trunks, load_metrics
from gendeg_core.metrics.columns import PairMetric, SetMetric
from gendeg_core.metrics.summary import INPUT, MEAN, Cell, ImageRow, SummaryRow, summarise
from gendeg_core.metrics.table import Facts, installed_versions, write_tables

RNG = np.random.default_rng(0)
FACTS = Facts("pairs/", 5, 2000, {"torch": "2.99"}, ("nafnet: trained on nothing",))


def never(*_: object) -> float:
    raise AssertionError("summaries measure nothing")


METRICS = Metrics(
    names=("psnr", "lpips", "fid"),
    pairs=(PairMetric(COLUMNS["psnr"], never, smallest=8),),
    sets=(SetMetric(COLUMNS["fid"], never, lambda first, second: float(first.mean() - second.mean())),),
    missing={"lpips": "the AlexNet weights are not on disk"},
)


def row(
    k: int, psnr: float | None, model: str = INPUT, degradation: str = "haze", group: str = "a"
) -> ImageRow:
    weights = "" if model == INPUT else "w@1"
    features = {"fid": (np.full(2, (psnr or 0) + 1), np.full(2, psnr or 0))}
    return ImageRow(
        f"{group}/{k}.png",
        degradation,
        group,
        model,
        weights,
        20 + k,
        10,
        None,
        0.5,
        {"psnr": psnr},
        features,
    )


def both(
    values: list[float], gain: list[float], degradation: str = "haze", group: str = "a"
) -> list[ImageRow]:
    """Rows of the degraded input and of a restorer that gains what is said."""
    rows = []
    for k, (value, more) in enumerate(zip(values, gain, strict=True)):
        rows.append(row(k, value, INPUT, degradation, group))
        rows.append(row(k, value + more, "nafnet", degradation, group))
    return rows


def cell(row: SummaryRow, name: str) -> Cell:
    found = row.cells[name]
    assert isinstance(found, Cell)
    return found


def test_means_and_gains_of_one_set() -> None:
    values = RNG.normal(20, 5, 30).tolist()
    gains = RNG.normal(1, 0.1, 30).tolist()
    given, restored = summarise(both(values, gains), METRICS, seed=5)
    assert (given.model, restored.model, restored.images) == (INPUT, "nafnet", 30)
    assert restored.sizes == "20x10 to 49x10"
    assert restored.tiles == "whole"
    assert cell(given, "psnr").value.mean == pytest.approx(np.mean(values))
    assert cell(given, "psnr").gain is None
    value, gain = cell(restored, "psnr").value, cell(restored, "psnr").gain
    assert gain is not None
    assert value.low < value.mean < value.high
    assert gain.mean == pytest.approx(np.mean(gains))
    assert gain.high - gain.low < 0.2, "the images' own spread is not part of the gain's interval"
    assert value.high - value.low > 1
    assert cell(restored, "fid").value.mean == 1
    assert restored.cells["lpips"] == "not measured: the AlexNet weights are not on disk"


def test_less_is_a_gain_where_less_is_better() -> None:
    lpips = Metrics(("lpips",), (PairMetric(COLUMNS["lpips"], never),))
    rows = [
        replace(r, values={"lpips": v})
        for r, v in zip(both([1, 1], [0, 0]), (0.5, 0.3, 0.7, 0.1), strict=True)
    ]
    gain = cell(summarise(rows, lpips)[1], "lpips").gain
    assert gain is not None
    assert gain.mean == pytest.approx(0.4)


def test_mean_averages_sets_inside_a_degradation_first() -> None:
    rows = both([10, 10], [1, 1], "haze", "a") + both([20] * 6, [2] * 6, "haze", "b")
    rows += both([40], [6], "snow", "c")
    summary = summarise(rows, METRICS)
    assert [r.degradation for r in summary] == ["haze"] * 4 + ["snow"] * 2 + [MEAN] * 2
    given, restored = summary[-2:]
    assert cell(given, "psnr").value.mean == pytest.approx((15 + 40) / 2)
    gain = cell(restored, "psnr").gain
    assert gain is not None
    assert gain.mean == pytest.approx((1.5 + 6) / 2)
    assert cell(restored, "psnr").images == restored.images == 9
    assert restored.group == "2 degradations"
    assert "not for every set (a set needs 2 images" in str(restored.cells["fid"])


def test_a_single_image_has_no_interval_and_a_small_one_no_number() -> None:
    (alone,) = summarise([row(0, 30.0)], METRICS)
    assert math.isnan(cell(alone, "psnr").value.low)
    mixed, _ = summarise(
        [row(0, 30.0), row(1, None), row(0, 31.0, "nafnet"), row(1, None, "nafnet")], METRICS
    )
    assert (cell(mixed, "psnr").images, mixed.images) == (1, 2)
    (none,) = summarise([row(0, None)], METRICS)
    assert none.cells["psnr"] == "not measured: no image with 8 pixels on each side"


def test_files(tmp_path: Path) -> None:
    rows = both([10, 12, 14], [1, 2, 3]) + both([20, 22], [0, 1], "snow", "c|d")
    rows[0] = replace(rows[0], values={"psnr": None})
    rows[1] = replace(rows[1], values={"psnr": None}, tile=256)
    summary = summarise(rows, METRICS, seed=5)
    table, images = write_tables(tmp_path / "deep" / "t.md", summary, rows, METRICS, FACTS)
    text = table.read_text()
    assert "| haze | a | degraded input |  | 3 |  | 13.00 (12.00 to 14.00) | not measured |" in text
    assert "| haze | a | nafnet | w@1 | 3 | whole, 256 | 15.50 (" in text
    assert "| snow | c\\|d | nafnet | w@1 | 2 |" in text
    assert "PSNR, dB ↑" in text
    assert "FID ↓" in text
    assert "| haze | a | nafnet | w@1 | 3 | whole, 256 | +2.50 (+2.00 to +3.00) |" in text
    assert "* LPIPS: not measured: the AlexNet weights are not on disk." in text
    assert "* PSNR, dB of 2 of 3 images in haze/a: the others are too small." in text
    assert "2000 resamples, seed 5" in text
    assert "haze/a 20x10 to 22x10" in text
    assert "torch 2.99" in text
    assert "nafnet: trained on nothing" in text
    with images.open() as file:
        lines = list(csv.DictReader(file))
    assert images.name == "t.images.csv"
    assert len(lines) == len(rows)
    assert lines[3] == {
        **{"name": "a/1.png", "degradation": "haze", "set": "a", "model": "nafnet", "weights": "w@1"},
        **{"width": "21", "height": "10", "tile": "whole", "seconds": "0.500", "psnr": "14"},
    }
    assert lines[0]["psnr"] == lines[0]["tile"] == ""
    table, _ = write_tables(tmp_path / "t.csv", summary, rows, METRICS, FACTS)
    with table.open() as file:
        first, second, *_ = csv.DictReader(file)
    assert (first["psnr"], first["psnr_n"], first["n"], first["psnr_gain"]) == ("13", "2", "3", "")
    assert (first["tile"], second["tile"]) == ("", "whole, 256")
    assert (second["psnr"], second["psnr_gain"], second["psnr_gain_low"]) == ("15.5", "2.5", "2")
    assert second["lpips"] == "not measured: the AlexNet weights are not on disk"
    assert (second["bootstrap_seed"], second["versions"], second["pairs"]) == ("5", "torch=2.99", "pairs/")
    assert list(tmp_path.glob(".*")) == []
    with pytest.raises(ValueError, match=r"written as \.csv or \.md, not 't\.txt'"):
        write_tables(tmp_path / "t.txt", summary, rows, METRICS, FACTS)


def test_choice_of_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    metrics = load_metrics()
    assert metrics.names == NAMES
    assert list(metrics.missing) == ["lpips", "fid", "kid"]
    assert "--lpips-trunk" in metrics.missing["lpips"]
    assert metrics.missing["fid"] == metrics.missing["kid"]
    assert [m.column.name for m in metrics.pairs] == ["psnr", "ssim", "ms_ssim", "haarpsi", "fsim"]
    assert [m.column.name for m in load_metrics(["ssim", "scene_distance", "psnr"]).pairs] == ["ssim", "psnr"]
    with pytest.raises(ValueError, match="unknown metric 'sim'; choose among psnr, ssim"):
        load_metrics(["psnr", "sim"])
    with pytest.raises(FileNotFoundError, match=r"x\.pth is not a file; give the Inception weights"):
        load_metrics(["fid"], Trunks(inception=tmp_path / "x.pth"))


def test_versions_name_what_computes() -> None:
    assert {"Python", "torch", "torchmetrics", "piq", "lpips"} <= set(installed_versions())
