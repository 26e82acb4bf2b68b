"""Restorers on pairs: what is measured against what, and the command around it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gendeg_core import cli
from gendeg_core.dataset.readers import pairs_in
from gendeg_core.evaluate import evaluate, group_of
from gendeg_core.metrics.choice import Metrics, load_metrics
from gendeg_core.metrics.columns import Column, SetMetric
from gendeg_core.metrics.fidelity import as_stored, psnr, ssim
from gendeg_core.metrics.summary import INPUT
from gendeg_core.restore import loading
from tests.metrics.scenes import scene


class Brighter(nn.Module):
    """Adds what haze took away, and remembers the sizes that it saw."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(amount))
        self.seen: list[tuple[int, int]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append((image.shape[-2], image.shape[-1]))
        return image + self.amount


def restorer(amount: float, model: str = "nafnet", weights: str = "existing@1") -> Any:
    return SimpleNamespace(
        net=Brighter(amount), model=model, weights=weights, label=SimpleNamespace(weak=f"adds {amount} only")
    )


def store(folder: Path, count: int = 3, size: tuple[int, int] = (40, 48), dark: float = 0.2) -> None:
    """`count` pairs whose degraded image is darker by `dark`."""
    for side in ("lq", "gt"):
        (folder / side).mkdir(parents=True)
    for k in range(count):
        clean = scene(*size, seed=k) * 0.6 + 0.3
        for side, image in (("gt", clean), ("lq", clean - dark)):
            pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
            Image.fromarray(pixels).save(folder / side / f"{k}.png")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    store(tmp_path / "pairs/low_light/night")
    store(tmp_path / "pairs/haze/fog", count=2, size=(30, 36), dark=0.1)
    return tmp_path / "pairs"


def pixels(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255


def test_rows_measure_stored_images_against_the_clean_one(pairs: Path) -> None:
    restorers = [restorer(0.2), restorer(0.003, "swin", "gends@2")]
    rows = list(evaluate(pairs_in(pairs), restorers, load_metrics(["psnr", "ssim"])))
    assert [row.model for row in rows] == [INPUT, "nafnet", "swin"] * 5
    assert [row.degradation for row in rows[::3]] == ["haze"] * 2 + ["low_light"] * 3
    assert {row.group for row in rows} == {"fog", "night"}
    given, nafnet, swin = rows[6:9]  # the first of low light
    clean, degraded = (pixels(pairs / "low_light/night" / side / "0.png") for side in ("gt", "lq"))
    assert given.values == {"psnr": psnr(degraded, clean), "ssim": ssim(degraded, clean)}
    for row, amount in ((nafnet, 0.2), (swin, 0.003)):  # 0.003 is less than one step of 1/255, yet rounds up
        expected = as_stored((degraded + amount).clamp(0, 1))
        assert row.values == {"psnr": psnr(expected, clean), "ssim": ssim(expected, clean)}
    assert nafnet.values["psnr"] > 45 > given.values["psnr"]
    assert (nafnet.weights, swin.weights, given.weights) == ("existing@1", "gends@2", "")
    assert (nafnet.width, nafnet.height, nafnet.tile) == (48, 40, None)
    assert nafnet.seconds > 0


def test_tiles_are_used_and_said(tmp_path: Path) -> None:
    store(tmp_path / "haze", count=1, size=(200, 300))
    one = restorer(0.1)
    _, row = evaluate(pairs_in(tmp_path), [one], load_metrics(["psnr"]), tile=128)
    assert row.tile == 128
    assert max(max(size) for size in one.net.seen) == 128
    _, row = evaluate(pairs_in(tmp_path), [one], load_metrics(["psnr"]), tile=0)
    assert row.tile is None


def test_features_of_the_clean_image_are_computed_once(pairs: Path) -> None:
    seen: list[float] = []

    def mean(image: Tensor) -> np.ndarray:
        seen.append(float(image.mean()))
        return np.array([seen[-1]])

    def measure(name: str) -> SetMetric:
        return SetMetric(Column(name, name, "lower", 2, ""), mean, lambda first, second: 0.0)

    metrics = Metrics(("a", "b"), (), (measure("a"), measure("b")))
    rows = list(evaluate(pairs_in(pairs / "haze"), [restorer(0.1), restorer(0.0)], metrics))
    assert len(rows) == 6
    assert len(seen) == 2 * (1 + 3)  # per pair the clean image, and the input and two restored ones
    restored, clean = rows[1].features["a"]
    assert restored == pytest.approx(clean, abs=2e-3)
    assert rows[0].features["b"][0] == pytest.approx(clean - 0.1, abs=2e-3)


def test_small_images_have_no_number_where_none_is_defined(pairs: Path) -> None:
    rows = list(evaluate(pairs_in(pairs), [], load_metrics(["ms_ssim", "psnr"])))
    assert {row.values["ms_ssim"] for row in rows} == {None}
    assert all(row.values["psnr"] for row in rows)


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("pairs/haze/sots/lq/0001.png", "sots"),
        ("pairs/haze/sots/lq/deep/0001.png", "sots"),
        ("pairs/haze/lq/0001.png", ""),
        ("pairs/haze/fog/lq/0001.png", "fog"),
        ("/data/lq/haze/sots/lq/0001.png", "sots"),
        ("item-000012", ""),
        ("lq/1.png", ""),
    ],
)
def test_sets_are_named_after_their_folder(name: str, group: str) -> None:
    assert group_of(name) == group


# ------------------------------------------------------------------ command


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """What the command asked to load; nothing is on disk but what a test puts there."""
    asked: list[tuple[str, str]] = []

    def load(model: str, weights: str = "existing", device: object = None) -> Any:
        asked.append((model, weights))
        if weights == "none":
            raise ValueError("there are no weights in none; give a folder or a checkpoint")
        return restorer(0.2 if weights == "existing" else 0.1, model, f"{model}_{weights}@1")

    monkeypatch.setattr(loading, "load_restorer", load)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return asked


def run(*arguments: str | Path) -> int:
    return cli.main(["evaluate", *map(str, arguments)])


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_command_writes_a_table(
    pairs: Path, tmp_path: Path, loaded: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out/table.csv"
    asked = ["--model", "nafnet", "swin", "--weights", "existing", "gends", "--metrics", "psnr,ssim,lpips"]
    assert run("--pairs", pairs, "--output", output, *asked, "--seed", "3") == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(output), str(output.with_suffix(".images.csv"))]
    assert "lpips is not measured: the AlexNet weights are not on disk" in captured.err
    assert loaded == [(m, w) for m in ("nafnet", "swin") for w in ("existing", "gends")]
    lines = table(output)
    assert len(lines) == 3 * 5  # haze, low light, and their mean; the input and four restorers
    night = [line for line in lines if line["set"] == "night"]
    assert [line["model"] for line in night] == [INPUT, "nafnet", "nafnet", "swin", "swin"]
    assert float(night[1]["psnr"]) > 45
    assert float(night[1]["psnr_gain_low"]) > 0
    assert float(night[2]["psnr"]) == pytest.approx(20, abs=0.2)  # 0.1 of 0.2 is left
    assert {line["n"] for line in night} == {"3"}
    assert {line["bootstrap_seed"] for line in lines} == {"3"}
    assert night[1]["lpips"].startswith("not measured: ")
    images = table(output.with_suffix(".images.csv"))
    assert len(images) == 5 * 5
    assert images[-1]["name"] == "low_light/night/lq/2.png"
    mean = np.mean([float(i["psnr"]) for i in images if i["set"] == "night" and i["model"] == INPUT])
    assert float(night[0]["psnr"]) == pytest.approx(mean, abs=1e-3)


def test_the_same_command_writes_the_same_numbers(
    pairs: Path, tmp_path: Path, loaded: list[tuple[str, str]]
) -> None:
    def written(name: str, *more: str) -> list[dict[str, str]]:
        assert run("--pairs", pairs, "--output", tmp_path / name, "--model", "nafnet", *more) == 0
        return [{**line, "seconds": ""} for line in table(tmp_path / name)]

    quick = ("--metrics", "psnr,ssim")
    assert written("a.csv", *quick) == written("b.csv", *quick)
    assert written("a.csv", *quick) != written("c.csv", *quick, "--seed", "1")


def test_markdown_says_what_the_weights_are(
    pairs: Path, tmp_path: Path, loaded: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table.md"
    quick = ["--metrics", "psnr,fid", "--degradation", "haze", "--json"]
    assert run("--pairs", pairs / "haze", "--output", output, "--model", "nafnet", *quick) == 0
    text = output.read_text()
    assert "| haze | fog | nafnet | nafnet_existing@1 | 2 | whole |" in text
    assert "nafnet, nafnet_existing@1: adds 0.2 only" in text
    assert "FID: not measured: the Inception weights are not on disk" in text
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["model"] for line in lines] == [INPUT, "nafnet"] * 2
    assert lines[1]["psnr"] > lines[0]["psnr"] - 100
    assert {"name", "degradation", "group", "tile", "seconds", "psnr"} <= set(lines[0])


def test_plain_folders_are_measured_as_what_they_are_said_to_show(
    tmp_path: Path, loaded: list[tuple[str, str]]
) -> None:
    store(tmp_path / "mine", count=2)
    asked = ["--pairs", tmp_path / "mine", "--output", tmp_path / "t.csv", "--model", "nafnet"]
    asked += ["--metrics", "psnr"]
    assert run(*asked, "--degradation", "low_light") == 0
    assert {line["degradation"] for line in table(tmp_path / "t.csv")} == {"low_light"}


def test_plain_folders_that_do_not_say_what_they_show_are_measured_as_unknown(
    tmp_path: Path, loaded: list[tuple[str, str]]
) -> None:
    store(tmp_path / "mine", count=2)
    store(tmp_path / "haze", count=1)
    asked = ["--output", tmp_path / "t.csv", "--model", "nafnet", "--metrics", "psnr"]
    assert run("--pairs", tmp_path, *asked) == 0
    counted = Counter((line["degradation"], line["set"]) for line in table(tmp_path / "t.images.csv"))
    assert counted == {("unknown", "mine"): 4, ("haze", ""): 2}


def usage_error(capsys: pytest.CaptureFixture[str], arguments: Sequence[str | Path]) -> str:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_what_cannot_be_used_is_said_before_anything_is_measured(
    pairs: Path, tmp_path: Path, loaded: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*more: str | Path, start: Path = pairs, output: str = "t.csv") -> str:
        start_of = ["--pairs", start, "--output", tmp_path / output, "--model", "nafnet"]
        return usage_error(capsys, [*start_of, *more])

    assert "written as .csv or .md, not 't.xlsx'" in told(output="t.xlsx")
    assert "unknown metric 'sim'" in told("--metrics", "psnr,sim")
    assert "does not exist" in told(start=tmp_path / "none")
    assert (
        "must hold folders lq and gt" in told(start=tmp_path) if not pairs.is_relative_to(tmp_path) else True
    )
    assert "there are no weights in none" in told("--weights", "none")
    twice = told("--weights", "existing", "gends", "existing")
    assert "nafnet with nafnet_existing@1 is asked for twice; name each once" in twice
    assert "tile=5 is below 128" in told("--tile", "5")
    assert "unknown degradation 'fog'" in told("--degradation", "fog")
    assert "x.pth is not a file" in told("--lpips-trunk", tmp_path / "x.pth")
    (pairs / "haze/fog/gt/1.png").write_bytes(b"no image")
    assert "1.png is damaged or no image" in told("--metrics", "psnr")
    assert list(tmp_path.glob("t*.csv")) == []


@pytest.fixture
def interrupted(
    pairs: Path,
    tmp_path: Path,
    loaded: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> list[str | Path]:
    """A command that was interrupted within its fourth pair."""
    seen = 0

    def stop(self: Brighter, image: Tensor) -> Tensor:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise KeyboardInterrupt
        return image + self.amount

    command = ["--pairs", pairs, "--output", tmp_path / "t.csv", "--model", "nafnet"]
    command += ["--metrics", "psnr,scene_distance"]
    with monkeypatch.context() as patch:
        patch.setattr(Brighter, "forward", stop)
        assert run(*command) == 130
    assert "interrupted: 3 of 5 pairs measured, no table written" in capsys.readouterr().err
    return command


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry per image that a network restores."""
    found: list[int] = []
    forward = Brighter.forward

    def count(self: Brighter, image: Tensor) -> Tensor:
        found.append(1)
        return forward(self, image)

    monkeypatch.setattr(Brighter, "forward", count)
    return found


def test_an_interrupted_run_leaves_its_measurements_and_no_table(
    interrupted: list[str | Path], tmp_path: Path
) -> None:
    assert [path.name for path in tmp_path.glob("t.*")] == ["t.measured.jsonl"]
    assert len((tmp_path / "t.measured.jsonl").read_text().splitlines()) == 1 + 3


def without_times(text: str) -> list[dict[str, str]]:
    return [{**line, "seconds": ""} for line in csv.DictReader(text.splitlines())]


@pytest.mark.parametrize("torn", [0, 20])
def test_repeated_it_goes_on_and_writes_what_an_uninterrupted_run_writes(
    interrupted: list[str | Path],
    counted: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    torn: int,
) -> None:
    left = tmp_path / "t.measured.jsonl"
    content = left.read_bytes()
    left.write_bytes(content[: len(content) - torn])  # as a kill within the last line leaves it
    assert run(*interrupted, "--json") == 0
    captured = capsys.readouterr()
    before = 2 if torn else 3
    assert f"{before} of 5 pairs were measured before" in captured.err
    assert len(counted) == 5 - before
    assert len(captured.out.splitlines()) == 10, "all rows, also those measured before"
    assert not left.exists()
    files = [tmp_path / name for name in ("t.csv", "t.images.csv")]
    resumed = [file.read_text() for file in files]
    assert run(*interrupted) == 0
    assert len(counted) == 5 - before + 5, "a finished table is made anew"
    for file, text in zip(files, resumed, strict=True):
        assert without_times(file.read_text()) == without_times(text)


def test_other_settings_are_measured_anew(
    interrupted: list[str | Path], counted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*interrupted, "--tile", "0") == 0
    assert "holds measurements of other images or settings" in capsys.readouterr().err
    assert len(counted) == 5


def test_an_image_that_changed_is_measured_anew_and_so_are_those_after_it(
    interrupted: list[str | Path], counted: list[int], pairs: Path
) -> None:
    Image.new("RGB", (36, 30)).save(pairs / "haze/fog/lq/1.png")
    assert run(*interrupted) == 0
    assert len(counted) == 4
