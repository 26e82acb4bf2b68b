"""The command line: the contract scripts rely on, folder runs that can be killed, sentences for mistakes."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gendeg_core import cli
from gendeg_core.images import read_photo, read_settings
from gendeg_core.seeds import sample_seed, torch_generator
from gendeg_core.statistics import degradation_map, measure
from gendeg_core.synthesize import DEFAULT_SAMPLING, Sampling
from gendeg_core.types import Degradation, DegradationRequest, DegradationResult, Progress
from tests.images.files import drawing, exif, png, srgb_profile

FIELDS = [
    "input",
    "output",
    "degradation",
    "mu",
    "sigma",
    "mu_obtained",
    "sigma_obtained",
    "seed",
    "weights",
    "seconds",
]
HAZE = ["--degradation", "haze"]


class PaintEngine:
    """Moves pixels towards white by about mu, with a little noise from the seed."""

    name = "simulator"
    weights = "paint-1"
    runs = 0

    def run(
        self, clean: torch.Tensor, request: DegradationRequest, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Iterator[Progress | DegradationResult]:
        PaintEngine.runs += 1
        yield Progress(0, 1)
        noise = torch.rand(clean.shape, generator=torch_generator(request.seed)) * 0.1
        degraded = (clean + (1 - clean) * (request.mu + noise)).clamp(0, 1)
        mu, sigma = measure(clean, degraded)
        yield DegradationResult(
            request, degraded, clean, degradation_map(clean, degraded), mu, sigma, f"{self.weights}:white"
        )


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[PaintEngine]:
    PaintEngine.runs = 0
    monkeypatch.setattr("gendeg_core.synthesize.load_engine", lambda name, weights: PaintEngine())
    return PaintEngine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos of several kinds at several depths, and files that are none."""
    source = tmp_path / "photos"
    (source / "summer/sea side").mkdir(parents=True)
    photo = Image.fromarray(drawing())
    photo.save(source / "b.jpg", exif=exif(orientation=6), icc_profile=srgb_profile())
    photo.save(source / "summer/c.png")
    photo.save(source / "summer/old.bmp")
    Image.fromarray(np.dstack([drawing(), drawing()[..., :1]])).save(source / "summer/sea side/ü.webp")
    (source / "deep.png").write_bytes(png(drawing(9, 7).astype(np.uint16) * 250, 2))
    Image.fromarray(drawing(1, 1)).save(source / "pixel.tif")
    (source / "captions.csv").write_text("file,caption\n")
    (source / ".b.jpg.part").write_bytes(b"half a picture")
    return source


def degrade(*arguments: str | Path) -> int:
    return cli.main(["degrade", *map(str, arguments)])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert degrade(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_one_photo_keeps_the_contract(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new/out.png"
    asked = ["--mu", "0.2", "--sigma", "0.1", "--seed", "7", "--caption", "a pier", "--json"]
    assert degrade(folder / "b.jpg", "--output", output, *HAZE, *asked) == 0
    captured = capsys.readouterr()
    (record,) = lines(captured.out)
    assert list(record) == FIELDS
    assert record["input"] == str(folder / "b.jpg")
    assert record["output"] == str(output)
    assert (record["degradation"], record["mu"], record["sigma"], record["seed"]) == ("haze", 0.2, 0.1, 7)
    assert record["weights"] == "paint-1:white"
    assert record["seconds"] > 0
    clean, degraded = read_photo(folder / "b.jpg"), read_photo(output)
    mu, sigma = measure(clean.pixels, degraded.pixels)
    assert abs(mu - record["mu_obtained"]) < 1 / 255
    assert abs(sigma - record["sigma_obtained"]) < 1 / 255
    stored = read_settings(output)
    assert stored is not None
    assert stored["caption"] == "a pier"
    assert {key: stored[key] for key in FIELDS[2:9]} == {key: record[key] for key in FIELDS[2:9]}


@pytest.mark.parametrize("destination", ["out/", "there", "there/x.png"])
def test_destination_of_one_photo(tmp_path: Path, folder: Path, destination: str) -> None:
    (tmp_path / "there").mkdir()
    assert degrade(folder / "b.jpg", "--output", f"{tmp_path}/{destination}", *HAZE, "--mu", "0.1") == 0
    expected = tmp_path / ("there/x.png" if destination.endswith("x.png") else f"{destination}/b.jpg")
    assert read_photo(expected).pixels.shape == (3, 60, 40)


def test_folder_keeps_structure_depth_and_metadata(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert degrade(folder, "--output", output, *HAZE, "--seed", "3", "--json") == 0
    records = lines(capsys.readouterr().out)
    names = ["b.jpg", "deep.png", "pixel.tif", "summer/c.png", "summer/old.bmp.png", "summer/sea side/ü.webp"]
    assert sorted(tree(output)) == names
    assert sorted(record["output"] for record in records) == [str(output / name) for name in names]
    assert all(list(record) == FIELDS for record in records)
    assert read_photo(output / "deep.png").bits == 16
    kept = read_photo(output / "b.jpg")
    assert kept.icc == srgb_profile()
    assert kept.exif is not None
    assert b"Camera maker" in kept.exif
    assert read_photo(output / "summer/sea side/ü.webp").alpha is not None


def test_seed_of_a_photo_in_a_folder_gives_the_same_picture_alone(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert degrade(folder, "--output", tmp_path / "out", *HAZE, "--seed", "3", "--json") == 0
    record = next(r for r in lines(capsys.readouterr().out) if r["input"].endswith("c.png"))
    assert record["seed"] == sample_seed(3, "summer/c.png")
    again = tmp_path / "again.png"
    same = ["--mu", repr(record["mu"]), "--sigma", repr(record["sigma"]), "--seed", str(record["seed"])]
    assert degrade(record["input"], "--output", again, *HAZE, *same) == 0
    assert again.read_bytes() == Path(record["output"]).read_bytes()


def test_intensity_left_out_is_drawn(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*arguments: str) -> tuple[float, float]:
        assert (
            degrade(
                folder / "b.jpg",
                "--output",
                tmp_path / "o.png",
                "--degradation",
                "rain",
                "--json",
                *arguments,
            )
            == 0
        )
        (record,) = lines(capsys.readouterr().out)
        return record["mu"], record["sigma"]

    from gendeg_core.statistics import draw_intensity, draw_mu_given_sigma

    drawn = draw_intensity(Degradation.RAIN, np.random.default_rng(5))
    assert asked("--seed", "5") == (drawn.mu, drawn.sigma)
    mu = draw_mu_given_sigma(Degradation.RAIN, 0.31, np.random.default_rng(5))
    assert asked("--seed", "5", "--sigma", "0.31") == (mu, 0.31)
    mu, sigma = asked("--seed", "5", "--mu", "0.05")
    assert mu == 0.05
    assert 0 < sigma < math.sqrt(0.05 * 0.95)
    assert asked("--seed", "6", "--mu", "0.05") != (mu, sigma)
    assert asked("--mu", "0") == (0, 0)


def test_second_run_skips_what_is_finished(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], engine: type[PaintEngine]
) -> None:
    output = tmp_path / "out"
    command = [folder, "--output", output, *HAZE, "--seed", "3", "--json"]
    assert degrade(*command) == 0
    first = lines(capsys.readouterr().out)
    before = tree(output)
    engine.runs = 0
    assert degrade(*command) == 0
    captured = capsys.readouterr()
    assert engine.runs == 0
    assert tree(output) == before
    assert [{**r, "seconds": 0} for r in lines(captured.out)] == [{**r, "seconds": 0} for r in first]
    assert captured.err.count("skipped") == len(first)


def test_files_that_are_left_out_are_counted(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("d.HEIC", "summer/e.heic", "summer/f.jp2", ".hidden.heic", "notes"):
        (folder / name).write_bytes(b"of another kind")
    assert degrade(folder, "--output", tmp_path / "out", *HAZE) == 0
    told = capsys.readouterr().err.splitlines()[0]
    assert told.startswith(f"left out of {folder}, as only .png, .jpg")
    assert told.endswith("are read: 2 .heic, 1 .csv, 1 no ending, 1 .jp2")
    assert degrade(folder / "b.jpg", "--output", tmp_path / "b.jpg", *HAZE) == 0
    assert "left out" not in capsys.readouterr().err


def test_what_changed_is_made_again(
    tmp_path: Path, folder: Path, engine: type[PaintEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"

    def runs(*more: str) -> int:
        engine.runs = 0
        assert degrade(folder, "--output", output, *HAZE, *more) == 0
        return engine.runs

    assert runs("--mu", "0.2") == 6
    assert runs("--mu", "0.2") == 0
    assert runs("--mu", "0.3") == 6
    assert runs("--mu", "0.3", "--caption", "x") == 6
    assert runs("--mu", "0.3", "--caption", "x", "--seed", "1") == 6
    shutil.copy(folder / "summer/c.png", folder / "other.png")
    Image.fromarray(255 - drawing()).save(folder / "summer/c.png")
    (output / "deep.png").unlink()
    data = (output / "pixel.tif").read_bytes()
    (output / "pixel.tif").write_bytes(data[:-4])
    same = ("--mu", "0.3", "--caption", "x", "--seed", "1")
    assert runs(*same) == 4  # a new photo, a changed one, a lost and a damaged output
    assert runs(*same) == 0
    monkeypatch.setattr(engine, "weights", "paint-2")
    assert runs(*same) == 7


KILLED = """
import os, signal, sys
from pathlib import Path
from tests import test_cli
import gendeg_core.synthesize
gendeg_core.synthesize.load_engine = lambda name, weights: test_cli.PaintEngine()
count, how = 0, sys.argv.pop(1)

def half(self, data):
    global count
    count += 1
    with self.open("wb") as file:
        file.write(data[: len(data) // 2 if how == "writing" and count == 4 else None])
    if count == 4:
        os.kill(os.getpid(), signal.SIGKILL)

Path.write_bytes = half
sys.exit(test_cli.cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("moment", ["writing", "before the rename"])
def test_killed_folder_run_goes_on_to_the_same_bytes(tmp_path: Path, folder: Path, moment: str) -> None:
    for name, output in (("killed", tmp_path / "killed"), ("whole", tmp_path / "whole")):
        command = ["degrade", str(folder), "--output", str(output), *HAZE, "--seed", "3"]
        if name == "killed":
            done = subprocess.run([sys.executable, "-c", KILLED, moment, *command], check=False)
            assert done.returncode == -signal.SIGKILL
            finished = [
                path for path in output.rglob("*") if path.is_file() and not path.name.startswith(".")
            ]
            assert len(finished) == 3
            for path in finished:
                assert read_settings(path)
                read_photo(path)
        assert cli.main(command) == 0
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


def test_failing_photos_do_not_stop_the_others(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.png").write_text("no image")
    (folder / "summer/z.jpg").write_bytes((folder / "b.jpg").read_bytes()[:400])
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert degrade(folder, "--output", tmp_path / "out", *HAZE, "--json") == 1
    captured = capsys.readouterr()
    assert len(lines(captured.out)) == 6
    assert f"{folder / 'a.png'} is not an image" in captured.err
    assert f"{folder / 'summer/z.jpg'} " in captured.err
    assert f"{folder / 'gone.png'}: No such file" in captured.err
    assert "6 of 9 photos done" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the photo is too small"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory\nat line 3"),
        MemoryError(),
        OSError(28, "No space left on device"),
    ],
)
def test_failing_engine_is_told_in_one_line(
    tmp_path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def run(self: PaintEngine, clean: torch.Tensor, *_: object) -> Iterator[Progress]:
        raise error
        yield

    monkeypatch.setattr(PaintEngine, "run", run)
    assert degrade(folder / "b.jpg", "--output", tmp_path / "o.png", *HAZE) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith(f"{folder / 'b.jpg'}: ")
    assert not (tmp_path / "o.png").exists()


def test_full_disk_is_told_and_the_next_run_finishes(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "c.png":
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert degrade(folder, "--output", tmp_path / "out", *HAZE) == 1
    assert "the disk is full: " in capsys.readouterr().err
    assert len(tree(tmp_path / "out")) == 5
    assert degrade(folder, "--output", tmp_path / "out", *HAZE) == 0
    assert len(tree(tmp_path / "out")) == 6


def test_interrupt_says_how_many_are_done(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PaintEngine.run

    def interrupted(self: PaintEngine, *arguments: Any) -> Iterator[Progress | DegradationResult]:
        if PaintEngine.runs == 2:
            raise KeyboardInterrupt
        yield from run(self, *arguments)

    monkeypatch.setattr(PaintEngine, "run", interrupted)
    assert degrade(folder, "--output", tmp_path / "out", *HAZE) == 130
    assert "interrupted: 2 of 6 photos done; repeat the command" in capsys.readouterr().err
    assert len(tree(tmp_path / "out")) == 2


def test_unusable_numbers(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = [folder, "--output", tmp_path / "out", *HAZE]
    assert "mu=0.71 is outside 0 to 0.7" in usage_error(capsys, *start, "--mu", "0.71")
    assert "mu=nan is outside" in usage_error(capsys, *start, "--mu", "nan")
    assert "mu=-0.1 is outside" in usage_error(capsys, *start, "--mu=-0.1")
    assert "sigma=inf is outside 0 to 0.4" in usage_error(capsys, *start, "--sigma", "inf")
    assert "seed=-1 is not a whole number" in usage_error(capsys, *start, "--seed=-1")
    assert "steps=0 is outside 1 to 1000" in usage_error(capsys, *start, "--steps", "0")
    assert "invalid float value: 'much'" in usage_error(capsys, *start, "--mu", "much")
    assert not (tmp_path / "out").exists()


def test_unusable_words(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = [folder, "--output", tmp_path / "out"]
    told = usage_error(capsys, *start, "--degradation", "fog")
    assert (
        "unknown degradation 'fog'; choose one of haze, rain, snow, motion_blur, low_light, raindrop" in told
    )
    assert "invalid choice: 'magic'" in usage_error(capsys, *start, *HAZE, "--engine", "magic")
    assert "required: --degradation" in usage_error(capsys, *start)
    assert "takes no steps" in usage_error(capsys, *start, *HAZE, "--engine", "simulator", "--steps", "3")


def test_unusable_paths(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(source: Path, output: Path | str) -> str:
        before = tree(tmp_path)
        sentence = usage_error(capsys, source, "--output", output, *HAZE)
        assert tree(tmp_path) == before
        return sentence

    assert "nothing.png does not exist" in told(tmp_path / "nothing.png", "out.png")
    (tmp_path / "empty").mkdir()
    assert "there is no image in" in told(tmp_path / "empty", tmp_path / "out")
    assert "lies inside" in told(folder, folder)
    assert "lies inside" in told(folder, folder / "summer/degraded")
    assert "name a folder for --output" in told(folder, folder / "b.jpg")
    assert "would be overwritten" in told(folder / "b.jpg", folder / "b.jpg")
    assert "would be overwritten" in told(folder / "b.jpg", folder)
    (tmp_path / "link.jpg").symlink_to(folder / "b.jpg")
    assert "would be overwritten" in told(folder / "b.jpg", tmp_path / "link.jpg")
    assert "'.gif' is none of .png" in told(folder / "b.jpg", tmp_path / "out.gif")
    (folder / "summer/summer").mkdir()
    shutil.copy(folder / "summer/c.png", folder / "summer/summer/c.png")
    assert "would be overwritten" in told(folder / "summer", folder)
    shutil.copy(folder / "summer/c.png", folder / "summer/old.bmp.png")
    assert "would both become" in told(folder, tmp_path / "out")


def test_unreadable_weights_are_a_usage_error(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, weights: Path | None) -> None:
        raise OSError(f"no GenDeg weights in {weights}: model_index.json is missing")

    monkeypatch.setattr("gendeg_core.synthesize.load_engine", missing)
    told = usage_error(capsys, folder, "--output", tmp_path / "out", *HAZE, "--weights", tmp_path)
    assert f"no GenDeg weights in {tmp_path}" in told


def test_convert_is_wired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def convert(*arguments: Any, **options: Any) -> Path:
        calls.append((*arguments, options))
        if len(calls) == 2:
            raise ValueError("generator.ckpt is not laid out as published; keys missing: a")
        return arguments[2]

    monkeypatch.setattr("gendeg_core.generate.published.convert", convert)
    generator, structure = tmp_path / "generator.ckpt", tmp_path / "structure.ckpt"
    command = ["convert", str(generator), "--structure", str(structure), "--output", str(tmp_path / "out")]
    assert cli.main(command) == 2
    assert "generator.ckpt is not a file" in capsys.readouterr().err
    generator.touch()
    structure.touch()
    assert cli.main([*command, "--tokenizer", str(tmp_path)]) == 0
    assert calls == [(generator, structure, tmp_path / "out", {"tokenizer": tmp_path})]
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert cli.main(command) == 1
    assert "not laid out as published" in capsys.readouterr().err


def python_m(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gendeg_core", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_process_with_the_simulators(tmp_path: Path, folder: Path) -> None:
    (folder / "bad.png").write_text("no image")
    options = ["--degradation", "snow", "--seed", "7", "--engine", "simulator", "--json"]
    done = python_m("degrade", folder, "--output", tmp_path / "out", *options)
    assert done.returncode == 1, done.stderr
    records = lines(done.stdout)
    assert len(records) == 6
    assert all(record["weights"].startswith("simulator:") for record in records)
    assert "bad.png is not an image" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_quick_and_lists_the_commands() -> None:
    done = python_m("--help")
    assert done.returncode == 0
    assert "degrade" in done.stdout
    assert "convert" in done.stdout
    script = "import sys; from gendeg_core.cli import build_parser; build_parser(); "
    script += "print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "set()"


def test_reader_that_leaves_early_is_no_traceback(tmp_path: Path, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "gendeg_core",
        "degrade",
        str(folder),
        "--output",
        str(tmp_path / "out"),
        *HAZE,
    ]
    command += ["--engine", "simulator", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
