"""`dataset` on the command line: what scripts rely on, exit statuses, sentences for mistakes."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gendeg_core import cli
from gendeg_core.commands import dataset
from gendeg_core.dataset import run as run_module
from gendeg_core.dataset.plan import read_plan
from gendeg_core.dataset.shards import iterate_rows
from tests.dataset.factory import draw_photos, load_failing, load_paint, paint_judge

ROOT = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path) -> Path:
    return draw_photos(tmp_path / "photos", 4)


@pytest.fixture
def in_this_process(monkeypatch):
    """Let `dataset run` work here, with the test's engine and filter."""
    original = run_module.run_plan

    def run_here(plan, output, builder, **options):
        monkeypatch.setattr(run_module, "asked", options, raising=False)
        builder = replace(builder, load=load_failing, judge=paint_judge)
        return original(plan, output, builder, workers=0)

    monkeypatch.setattr(run_module, "run_plan", run_here)


def call(*arguments: object) -> int:
    return cli.main(["dataset", *map(str, arguments)])


def write_captions(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, ["file", "caption", "suitable", "degradation"])
        table.writeheader()
        table.writerows(rows)
    return path


def test_plan_run_status(photos, tmp_path, in_this_process, capsys):
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    assert call("plan", photos, "--output", plan, "--per-image", 3, "--seed", 9) == 0
    assert "12 items from 4 photos" in capsys.readouterr().err
    assert call("run", plan, "--output", out, "--json") == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    stored = list(iterate_rows(out, list(dataset.ITEM_FIELDS)))
    assert lines == [{name: row[name] for name in dataset.ITEM_FIELDS} for row in stored]
    assert len(lines) == 12
    assert "4 of 4 shards" in printed.err
    assert call("status", out) == 0
    assert capsys.readouterr().out.startswith("12 of 12 items made, 4 of 4 shards finished")
    assert call("status", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["made"] == 12
    assert call("run", plan, "--output", out, "--json") == 0
    assert capsys.readouterr().out == "", "nothing is made twice"


def test_captions_say_what_photos_show_already_and_which_to_leave_out(photos, tmp_path, capsys):
    rows = [
        {"file": "pool/photo 000.png", "caption": "a hut, in hazy conditions", "degradation": "Low-light"},
        {"file": "pool/photo 001.png", "caption": "a lake", "suitable": "0"},
        {"file": "pool/inside/photo 003.png", "caption": "a bird", "degradation": "rain, snow"},
    ]
    captions = write_captions(tmp_path / "captions.csv", rows)
    plan = tmp_path / "plan.parquet"
    assert call("plan", photos, "--output", plan, "--captions", captions) == 0
    said = capsys.readouterr().err
    assert "15 items from 3 photos (1 marked unsuitable)" in said
    assert "no caption for 1 of them, such as photo 002.png" in said
    made = read_plan(plan).table.to_pylist()
    kinds = {
        p: {row["degradation"] for row in made if row["photo"] == p}
        for p in ("photo 000.png", "inside/photo 003.png")
    }
    assert "low_light" not in kinds["photo 000.png"]
    assert not {"rain", "snow"} & kinds["inside/photo 003.png"]
    assert {row["photo"]: row["caption"] for row in made} == {
        "photo 000.png": "a hut",
        "photo 002.png": "",
        "inside/photo 003.png": "a bird",
    }


def test_options_reach_the_plan(photos, tmp_path):
    plan = tmp_path / "plan.parquet"
    options = ["--degradations", "snow, haze", "--size", 0, "--free-every", 3, "--only-sigma-free"]
    assert call("plan", photos, "--output", plan, "--engine", "gendeg=2,simulator=1", *options) == 0
    settings = read_plan(plan).settings
    assert settings.degradations == ("haze", "snow")
    assert (settings.size, settings.every_nth_free, settings.only_sigma_free) == (0, 3, True)
    assert settings.engine == "gendeg=2,simulator=1"


def test_photos_that_failed_make_the_exit_status_one(photos, tmp_path, in_this_process, capsys):
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    (photos / "photo 001.png").write_text("no picture")
    captions = write_captions(tmp_path / "c.csv", [{"file": "photo 002.png", "caption": "trouble"}])
    call("plan", photos, "--output", plan, "--captions", captions)
    capsys.readouterr()
    assert call("run", plan, "--output", out) == 1
    said = capsys.readouterr().err
    assert "photo 001.png is not an image" in said
    assert "photo 002.png cannot be degraded" in said
    assert "2 photos could not be done" in said
    assert call("status", out) == 1
    assert "12 of 24 items made" in capsys.readouterr().out


def test_the_engine_can_be_exchanged_and_workers_are_handed_on(photos, tmp_path, in_this_process):
    plan = tmp_path / "plan.parquet"
    call("plan", photos, "--output", plan)
    assert call("run", plan, "--output", tmp_path / "a", "--engine", "simulator", "--workers", 3) == 0
    assert run_module.asked == {"workers": 3, "ray": None}
    assert {row["engine"] for row in iterate_rows(tmp_path / "a")} == {"simulator"}
    assert call("run", plan, "--output", tmp_path / "b", "--ray", "local") == 0
    assert run_module.asked == {"workers": None, "ray": "local"}


def test_ctrl_c_is_answered_in_one_sentence(photos, tmp_path, monkeypatch, capsys):
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    call("plan", photos, "--output", plan)
    original = run_module.run_plan

    def interrupted(plan, output, builder, **_):
        builder = replace(builder, load=load_paint, judge=paint_judge)
        for progress in original(plan, output, builder, workers=0):
            yield progress
            if progress.shards_done == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "run_plan", interrupted)
    capsys.readouterr()
    assert call("run", plan, "--output", out) == 130
    said = capsys.readouterr().err.strip()
    assert said == "interrupted: 12 of 24 items done, 2 of 4 shards kept; repeat the command to go on"


def test_a_real_ctrl_c_stops_parent_and_workers(tmp_path):
    photos = draw_photos(tmp_path / "photos", 40)
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    assert call("plan", photos, "--output", plan, "--engine", "simulator") == 0
    command = [
        sys.executable,
        "-m",
        "gendeg_core",
        "dataset",
        "run",
        str(plan),
        "--output",
        str(out),
        "--json",
    ]
    running = subprocess.Popen(
        [*command, "--workers", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # its own group, as behind a terminal
        # A shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    first = json.loads(running.stdout.readline())
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert first["weights"].startswith("simulator:")
    assert said.count("\n") == 1
    assert said.startswith("interrupted: ")
    deadline = time.monotonic() + 10
    while group_lives(running.pid):
        assert time.monotonic() < deadline, "a worker is left"
        time.sleep(0.05)
    assert not list(out.rglob("*.tmp"))


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "missing", "--output", "p"], "missing is not a folder"),
        (["plan", "photos", "--output", "p", "--degradations", "fog"], "unknown degradation 'fog'"),
        (["plan", "photos", "--output", "p", "--engine", "magic"], "engine 'magic' is not understood"),
        (["plan", "photos", "--output", "p", "--per-image", "0"], "per_image=0 makes nothing"),
        (["plan", "photos", "--output", "p", "--captions", "missing.csv"], "there is no caption file"),
        (["run", "plan", "--output", "o", "--mu-limits", "haze=0.1"], "no limit of mu"),
        (["run", "missing", "--output", "out"], "there is no plan missing"),
        (["run", "plan", "--output", "out", "--workers", "0"], "--workers 0 leaves nobody to work"),
        (["run", "plan", "--output", "out", "--steps", "0"], "steps=0 is outside 1 to 1000"),
        (
            ["run", "plan", "--output", "out", "--engine", "simulator", "--steps", "4"],
            "no --steps; drop them",
        ),
        (["run", "plan", "--output", "out", "--photos", "missing"], "missing is gone; name it with --photos"),
        (["run", "plan", "--output", "photos"], "is in use by other files"),
        (["run", "plan", "--output", "out", "--weights", "nowhere"], "there are no weights in nowhere"),
        (["status", "photos"], "there is no plan"),
        (["export", "photos", "--webdataset", "tars"], "holds no shard"),
        (["caption", "missing", "--output", "c.csv"], "missing"),
    ],
)
def test_mistakes_are_said_in_a_sentence(photos, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert call("plan", "photos", "--output", "plan") == 0
    capsys.readouterr()
    assert call(*arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_another_plan_in_the_folder_is_a_mistake(photos, tmp_path, in_this_process, capsys):
    for seed in (1, 2):
        call("plan", photos, "--output", tmp_path / f"plan{seed}", "--seed", seed, "--per-image", 1)
    assert call("run", tmp_path / "plan1", "--output", tmp_path / "out") == 0
    assert call("run", tmp_path / "plan2", "--output", tmp_path / "out") == 2
    assert "holds the data set of another plan" in capsys.readouterr().err
