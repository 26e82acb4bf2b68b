"""`restore` on the command line: the contract scripts rely on, folder runs, sentences for mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gendeg_core import cli
from gendeg_core.commands import restore as command
from gendeg_core.images import read_photo, read_settings
from gendeg_core.restore.loading import ANY
from gendeg_core.restore.zoo import MODELS, build
from tests.images.files import drawing, exif, png, srgb_profile
from tests.restore.tiny import Tiny

FIELDS = ["input", "output", "model", "weights", "tile", "seconds"]


class Lighten(nn.Module):
    """Half of the way to white."""

    runs = 0

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        Lighten.runs += 1
        return image + self.part * (1 - image)


WEIGHTS = {"existing": "nafnet_existing@1", "gends": "nafnet_gends@2"}


def load(model: str, weights: str) -> Tiny:
    if weights not in WEIGHTS:
        raise OSError(f"{weights} holds no config.json; give a folder of weights")
    return Tiny(Lighten().eval(), model, WEIGHTS[weights])


@pytest.fixture(autouse=True)
def loader(monkeypatch: pytest.MonkeyPatch) -> None:
    Lighten.runs = 0
    monkeypatch.setattr("gendeg_core.restore.loading.load_restorer", load)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos of several kinds at several depths."""
    source = tmp_path / "photos"
    (source / "summer/sea side").mkdir(parents=True)
    photo = Image.fromarray(drawing())
    photo.save(source / "b.jpg", exif=exif(orientation=6), icc_profile=srgb_profile())
    photo.save(source / "summer/c.png")
    Image.fromarray(np.dstack([drawing(), drawing()[..., :1]])).save(source / "summer/sea side/ü.webp")
    (source / "deep.png").write_bytes(png(drawing(9, 7).astype(np.uint16) * 250, 2))
    return source


def run(*arguments: str | Path) -> int:
    return cli.main(["restore", *map(str, arguments)])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_one_photo_keeps_the_contract(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new/out.png"
    assert run(folder / "deep.png", "--output", output, "--model", "nafnet", "--json") == 0
    (record,) = lines(capsys.readouterr().out)
    assert list(record) == FIELDS
    assert record["input"] == str(folder / "deep.png")
    assert record["output"] == str(output)
    assert (record["model"], record["weights"], record["tile"]) == ("nafnet", "nafnet_existing@1", None)
    assert record["seconds"] > 0
    before, after = read_photo(folder / "deep.png"), read_photo(output)
    assert after.bits == 16
    assert torch.allclose(after.pixels, before.pixels / 2 + 0.5, atol=1 / 65535)
    stored = read_settings(output)
    assert stored is not None
    assert {key: stored[key] for key in ("model", "weights", "tile")} == {
        "model": "nafnet",
        "weights": "nafnet_existing@1",
        "tile": None,
    }


def test_folder_keeps_structure_and_what_photos_carry(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert run(folder, "--output", output, "--model", "swin") == 0
    told = capsys.readouterr().out
    assert sorted(tree(output)) == ["b.jpg", "deep.png", "summer/c.png", "summer/sea side/ü.webp"]
    assert f"{output / 'b.jpg'}: swin nafnet_existing@1, in one piece, " in told
    kept = read_photo(output / "b.jpg")
    assert kept.pixels.shape == (3, 60, 40)  # upright, as its EXIF said
    assert kept.icc == srgb_profile()
    assert kept.exif is not None
    assert b"Camera maker" in kept.exif
    before, after = (read_photo(root / "summer/sea side/ü.webp").alpha for root in (folder, output))
    assert before is not None
    assert after is not None
    assert torch.equal(before, after)


def test_second_run_makes_only_what_changed(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"

    def runs(*more: str) -> int:
        Lighten.runs = 0
        assert run(folder, "--output", output, "--model", "nafnet", "--json", *more) == 0
        return Lighten.runs

    assert runs() == 4
    first, before = lines(capsys.readouterr().out), tree(output)
    assert runs() == 0
    captured = capsys.readouterr()
    assert captured.err.count("skipped") == 4
    assert [{**r, "seconds": 0} for r in lines(captured.out)] == [{**r, "seconds": 0} for r in first]
    assert tree(output) == before
    assert runs("--weights", "gends") == 4
    assert runs("--weights", "gends", "--tile", "128") == 4
    Image.fromarray(255 - drawing()).save(folder / "summer/c.png")
    (output / "deep.png").unlink()
    (output / "b.jpg").write_bytes((output / "b.jpg").read_bytes()[:-40])
    assert runs("--weights", "gends", "--tile", "128") == 3


def test_large_photos_go_over_tiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(drawing(150, 260)).save(tmp_path / "wide.png")
    command = [tmp_path / "wide.png", "--output", tmp_path / "o.png", "--model", "nafnet", "--json"]
    assert run(*command, "--tile", "150") == 0
    (record,) = lines(capsys.readouterr().out)
    assert record["tile"] == 128
    assert Lighten.runs == 6
    assert run(*command, "--tile", "0") == 0
    assert lines(capsys.readouterr().out)[0]["tile"] is None
    assert Lighten.runs == 7


def test_failing_photos_do_not_stop_the_others(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.png").write_text("no image")
    assert run(folder, "--output", tmp_path / "out", "--model", "nafnet", "--json") == 1
    captured = capsys.readouterr()
    assert len(lines(captured.out)) == 4
    assert f"{folder / 'a.png'} is not an image" in captured.err
    assert "4 of 5 photos done" in captured.err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "unet"], "invalid choice: 'unet'"),
        ([], "required: --model"),
        (["--model", "nafnet", "--weights", "nowhere"], "nowhere holds no config.json"),
        (["--model", "nafnet", "--tile", "64"], "tile=64 is below 128"),
        (["--model", "nafnet", "--tile", "big"], "invalid int value: 'big'"),
    ],
)
def test_unusable_arguments(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    assert run(folder, "--output", tmp_path / "out", *options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_the_networks_offered_are_those_that_can_be_loaded() -> None:
    assert (*MODELS, ANY) == command.MODELS


def test_own_process_restores_with_a_folder_of_weights(tmp_path: Path) -> None:
    """No fakes: weights saved as they ship, found by path, from another process."""
    build("nafnet", "tiny").save_pretrained(tmp_path / "mine")
    Image.fromarray(drawing()).save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "gendeg_core", "restore", "photo.png", "--output", "out.png"]
    command += ["--model", "nafnet", "--weights", "mine", "--json"]
    root = Path(cli.__file__).parents[1]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (record,) = lines(done.stdout)
    assert record["weights"].startswith("mine@")
    # an untrained network of this size returns what it is given
    assert torch.equal(read_photo(tmp_path / "out.png").pixels, read_photo(tmp_path / "photo.png").pixels)
