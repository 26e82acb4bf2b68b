"""Runs: killed at any moment and repeated they end with the same bytes, whoever did the work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gendeg_core.dataset.engines import EngineOptions
from gendeg_core.dataset.make import default_judge
from gendeg_core.dataset.plan import PlanError, PlanSettings, make_plan, write_plan
from gendeg_core.dataset.run import RunError, RunProgress, run_plan
from gendeg_core.dataset.shards import iterate_rows, shards_done
from gendeg_core.dataset.status import describe, read_status
from tests.dataset.factory import draw_photos, load_failing, painter, shard_digests, small_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("photos"), 9)


@pytest.fixture(scope="module")
def expected(photos, tmp_path_factory):
    """Shards of an uninterrupted run of `small_plan(photos)` in this process."""
    output = tmp_path_factory.mktemp("whole")
    run_here(small_plan(photos), output)
    return shard_digests(output)


def run_here(plan, output, builder=None) -> RunProgress:
    *_, last = run_plan(plan, output, builder or painter(), workers=0)
    return last


def finished_by(script: str, *arguments: Path) -> str:
    """What a script prints that runs in a Python of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


KILLED_TEN_TIMES = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import tests.dataset.factory as factory
from gendeg_core.dataset.plan import read_plan
from gendeg_core.dataset.run import run_plan

plan, output = read_plan(sys.argv[1]), Path(sys.argv[2])
lengths, kills = random.Random(int(sys.argv[3])), 0
while True:
    child = os.fork()  # everything is imported, nothing has been computed: a quick way to a fresh process
    if child == 0:
        for _ in run_plan(plan, output, factory.painter(), workers=0):
            pass
        os._exit(0)
    if kills < 10:
        time.sleep(lengths.uniform(0.02, 0.25))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert os.waitstatus_to_exitcode(status) == 0
        break
    kills += 1
print(kills)
"""


def test_killed_ten_times_at_random_moments_it_ends_with_the_same_bytes(tmp_path):
    photos = draw_photos(tmp_path / "photos", 60)
    settings = PlanSettings(str(photos), photos_per_shard=2)
    write_plan(tmp_path / "plan.parquet", make_plan(settings))
    kills = int(finished_by(KILLED_TEN_TIMES, tmp_path / "plan.parquet", tmp_path / "out", Path("1")))
    assert kills == 10
    plan = small_plan(photos)
    run_here(plan, tmp_path / "whole")
    assert shard_digests(tmp_path / "out") == shard_digests(tmp_path / "whole")
    assert [row["item_id"] for row in iterate_rows(tmp_path / "out")] == plan.table["item_id"].to_pylist()
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_workers_make_the_same_bytes_and_a_killed_one_is_replaced(photos, expected, tmp_path):
    killed, lost, last = None, False, None
    for progress in run_plan(small_plan(photos), tmp_path, painter(), workers=2):
        if killed is None and progress.done:  # some photo is stored, its shard is not finished
            killed = int(next((tmp_path / "log").glob("*.jsonl")).stem.rpartition("-")[2])
            os.kill(killed, signal.SIGKILL)
        lost = lost or (last is not None and progress.done < last.done)
        last = progress
    assert killed is not None
    assert lost, "what the killed worker had done of its shard is taken back"
    assert (last.done, last.total, last.shards_done, last.failed) == (54, 54, 5, {})
    assert shard_digests(tmp_path) == expected


KILLED_PARENT = """
import sys
from tests.dataset.factory import painter
from gendeg_core.dataset.plan import read_plan
from gendeg_core.dataset.run import run_plan

if __name__ == "__main__":
    for progress in run_plan(read_plan(sys.argv[1]), sys.argv[2], painter(), workers=1):
        print(progress.done, flush=True)
"""


def test_workers_leave_with_a_killed_parent(photos, expected, tmp_path):
    write_plan(tmp_path / "plan.parquet", small_plan(photos).table)
    script = tmp_path / "script.py"
    script.write_text(KILLED_PARENT)
    command = [sys.executable, str(script), str(tmp_path / "plan.parquet"), str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert [int(parent.stdout.readline()) for _ in range(2)] == [0, 6]
    worker = int(next((tmp_path / "out" / "log").glob("*.jsonl")).stem.rpartition("-")[2])
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while alive(worker):
        assert time.monotonic() < deadline, "the worker goes on without its parent"
        time.sleep(0.05)
    run_here(small_plan(photos), tmp_path / "out")
    assert shard_digests(tmp_path / "out") == expected


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_closing_the_iterator_stops_and_the_next_run_goes_on(photos, expected, tmp_path):
    run = run_plan(small_plan(photos), tmp_path, painter(), workers=0)
    for progress in run:
        if progress.shards_done == 2:
            break
    run.close()
    assert sorted(shards_done(tmp_path)) == [0, 1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    assert len(before) == 2
    first, *_, last = run_plan(small_plan(photos), tmp_path, painter(), workers=0)
    assert (first.done, last.done) == (24, 54)
    assert shard_digests(tmp_path) == expected
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_progress_counts_items_and_refusals(photos, tmp_path):
    seen = list(run_plan(small_plan(photos), tmp_path, painter(), workers=0))
    assert [p.finished for p in seen if p.finished is not None] == [0, 1, 2, 3, 4]
    assert (seen[0].done, seen[0].seconds_left) == (0, None)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert seen[-1].seconds_left == 0
    assert seen[-1].per_second > 0
    assert seen[-1].rejected == sum(not row["accepted"] for row in iterate_rows(tmp_path)) > 0


def test_a_photo_that_failed_is_made_when_it_can_be_read(tmp_path):
    photos = draw_photos(tmp_path / "photos", 5)
    plan = small_plan(photos, {"photo 001.png": "trouble"})
    broken = photos / "photo 002.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:60])
    failing = painter(load=load_failing)
    last = run_here(plan, tmp_path / "out", failing)
    assert set(last.failed) == {"photo 001.png", "photo 002.png"}
    status = read_status(tmp_path / "out")
    assert status.made == 18
    assert set(status.failed) == set(last.failed)
    assert "not done: photo 001.png cannot be degraded" in describe(status)
    broken.write_bytes(content)
    last = run_here(plan, tmp_path / "out", failing)
    assert set(last.failed) == {"photo 001.png"}
    assert read_status(tmp_path / "out").made == 24


def test_a_photo_too_large_for_the_memory_fails_alone_and_a_fault_is_named(photos, tmp_path):
    plan = small_plan(photos, {"photo 001.png": "memory"})
    last = run_here(plan, tmp_path / "out", painter(load=load_failing))
    assert list(last.failed) == ["photo 001.png"]
    assert "takes more memory than there is" in last.failed["photo 001.png"]
    assert read_status(tmp_path / "out").made == 48
    plan = small_plan(photos, {"photo 001.png": "fault"})
    with pytest.raises(RuntimeError, match=r"photo 001.png stopped the run: an illegal access"):
        run_here(plan, tmp_path / "other", painter(load=load_failing))


def test_limits_of_the_filter_belong_to_the_data_set(photos, tmp_path):
    narrow = painter(judge=default_judge, mu_limits={"haze": (0.6, 0.7)})
    *_, _some = zip(range(3), run_plan(small_plan(photos), tmp_path, narrow, workers=0), strict=False)
    with pytest.raises(PlanError, match="begun with other mu limits"):
        run_here(small_plan(photos), tmp_path, painter(judge=default_judge))
    run_here(small_plan(photos), tmp_path, narrow)
    reasons = [row["reason"] for row in iterate_rows(tmp_path) if row["degradation"] == "haze"]
    assert all(reason.startswith(("weak", "duplicate")) for reason in reasons)
    assert any("below 0.6000" in reason for reason in reasons)


def test_what_does_not_belong_together_is_refused(photos, tmp_path):
    plan = small_plan(photos)
    run_here(plan, tmp_path)
    with pytest.raises(PlanError, match="data set of another plan"):
        run_here(small_plan(photos, seed=1), tmp_path)
    with pytest.raises(PlanError, match="data set of another plan"):
        run_here(plan.with_engine("simulator"), tmp_path)
    facts = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "markers" / "train-00000-of-00005.json").unlink()
    for name, value in (
        ("code version", "0.0+old"),
        ("weights of gendeg", "paint-0"),
        ("steps of gendeg", 50),
    ):
        (tmp_path / "run.json").write_text(json.dumps(facts | {name: value}))
        with pytest.raises(
            PlanError, match=f"begun with other {name}: {value.__str__()}".replace("+", r"\+")
        ):
            run_here(plan, tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert run_here(plan, tmp_path).done == 54
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("dear")
    with pytest.raises(PlanError, match="in use by other files"):
        run_here(plan, tmp_path / "used")


def test_photos_may_move(photos, expected, tmp_path):
    plan = small_plan(photos)
    *_, half = zip(range(4), run_plan(plan, tmp_path / "out", painter(), workers=0), strict=False)
    moved = draw_photos(tmp_path / "moved", 9)
    run_here(replace(plan, settings=replace(plan.settings, photos=str(moved))), tmp_path / "out")
    assert shard_digests(tmp_path / "out") == expected


def test_other_photos_of_the_same_names_are_refused(photos, tmp_path):
    plan = small_plan(photos)
    *_, _half = zip(range(14), run_plan(plan, tmp_path / "out", painter(), workers=0), strict=False)
    shutil.copytree(photos, tmp_path / "others")
    first, second, *_ = plan.table["photo"].unique().to_pylist()
    shutil.copyfile(photos / second, tmp_path / "others" / first)
    elsewhere = replace(plan, settings=replace(plan.settings, photos=str(tmp_path / "others")))
    with pytest.raises(PlanError, match="is not the photo that"):
        run_here(elsewhere, tmp_path / "out")
    assert run_here(plan, tmp_path / "out").done == 54


def test_a_kill_before_the_plan_is_stored_leaves_a_usable_folder(photos, expected, tmp_path):
    (tmp_path / ".plan.parquet.1.tmp").write_bytes(b"half")
    run_here(small_plan(photos), tmp_path)
    (tmp_path / "README.md").unlink()
    run_here(small_plan(photos), tmp_path)
    assert (tmp_path / "README.md").is_file()
    assert shard_digests(tmp_path) == expected
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_runs_never_share_a_folder(photos, tmp_path):
    first = run_plan(small_plan(photos), tmp_path, painter(), workers=0)
    next(first)
    with pytest.raises(RunError, match="another run works on"):
        next(run_plan(small_plan(photos), tmp_path, painter(), workers=0))
    first.close()
    assert run_here(small_plan(photos), tmp_path).done == 54


def load_nothing(options: EngineOptions, names, device):
    raise FileNotFoundError("no GenDeg weights in nowhere")


def load_death(options: EngineOptions, names, device):
    os._exit(9)


@pytest.mark.parametrize(
    ("load", "error", "sentence"),
    [
        (load_nothing, PlanError, "no GenDeg weights in nowhere"),
        (load_death, RunError, "died 3 times at its"),
    ],
)
def test_workers_that_cannot_start_end_the_run(photos, tmp_path, load, error, sentence):
    with pytest.raises(error, match=sentence):
        list(run_plan(small_plan(photos), tmp_path, painter(load=load), workers=1))


MEMORY = """
import os, sys
import psutil
from pathlib import Path
from tests.dataset.factory import painter
from gendeg_core.dataset.plan import read_plan
from gendeg_core.dataset.run import run_plan

process, sizes = psutil.Process(), {}
for progress in run_plan(read_plan(sys.argv[1]), sys.argv[2], painter(), workers=0):
    sizes.setdefault(progress.done, process.memory_info().rss / 1e6)
print(max(size for done, size in sizes.items() if 200 <= done <= 400))
print(max(size for done, size in sizes.items() if done > 1800), progress.done)
"""


def test_memory_does_not_grow_over_two_thousand_items(tmp_path):
    photos = draw_photos(tmp_path / "photos", 25, side=96)
    settings = PlanSettings(str(photos), per_image=80, photos_per_shard=5)
    write_plan(tmp_path / "plan.parquet", make_plan(settings))
    early, late, done = finished_by(MEMORY, tmp_path / "plan.parquet", tmp_path / "out").split()
    assert int(done) == 2000
    assert float(late) < float(early) + 40, f"{early} MB at 400 items, {late} MB at 2000"


def test_status_reads_markers_and_logs(photos, tmp_path):
    run_here(small_plan(photos), tmp_path)
    status = read_status(tmp_path)
    assert (status.planned, status.made, status.shards_done, status.shards) == (54, 54, 5, 5)
    assert status.finished
    assert status.bytes == sum(path.stat().st_size for path in (tmp_path / "data").iterdir())
    assert status.items_timed == 54
    assert 0 <= status.outside < 1
    assert status.as_json() == asdict(status) | {"finished": True}
    with next((tmp_path / "log").glob("*.jsonl")).open("a") as file:
        file.write('{"seconds": {"wall"')  # as a kill leaves it
    assert read_status(tmp_path) == status
    (tmp_path / "markers" / "train-00002-of-00005.json").unlink()
    status = read_status(tmp_path)
    assert (status.made, status.finished) == (42, False)
    with pytest.raises(PlanError, match="no plan"):
        read_status(tmp_path / "data")
