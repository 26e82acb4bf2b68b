"""The Dataset tab: what it refuses, what it makes, what a cancel leaves, and its endpoint."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import gradio as gr
import numpy as np
import pyarrow.parquet as pq
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import engines
from app.dataset import MOST_PHOTOS, Finished, Order, make_dataset, read_order
from app.session import Session
from app.tabs import dataset as tab
from gendeg_core.dataset.audit_numbers import Check
from gendeg_core.dataset.plan import read_plan
from gendeg_core.types import Degradation
from tests.app.fakes import SlowEngine, write_scene
from tests.app.serving import serving

KINDS = [kind.value for kind in Degradation]


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Two files of one name in two folders."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return [str(write_scene(tmp_path / name / "scene.png", *size)) for name, size in SIZES.items()]


SIZES = {"a": (96, 72), "b": (120, 80)}


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where runs put their folders, to see what they leave."""
    place = tmp_path / "temporary"
    place.mkdir()
    with mock.patch.object(tempfile, "tempdir", str(place)):
        yield place


def order(photos: list[str] | None, **changes: object) -> Order:
    asked: dict[str, object] = {"degradations": ["haze", "low_light"], "engine": "simulator", "seed": 3}
    asked |= {"per_image": None, "size": 256} | changes
    return read_order(photos, **asked)  # pyright: ignore[reportArgumentType]


def test_no_photos_means_the_examples_with_their_captions() -> None:
    read = order(None)
    assert len(read.photos) >= 2
    assert all(read.captions)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"degradations": []}, "tick at least one"),
        ({"degradations": ["hail"]}, "hail"),
        ({"engine": "magic"}, "unknown engine 'magic'"),
        ({"seed": None}, "seed must be a number"),
        ({"seed": -1}, "seed=-1 is negative"),
        ({"per_image": 13}, "ask for 1 to 12"),
        ({"per_image": 0}, "ask for 1 to 12"),
        ({"size": 1024}, "size 1024 is unknown"),
    ],
)
def test_unusable_choices_are_refused(photos: list[str], changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        order(photos, **changes)


def test_no_too_many_and_broken_photos_are_refused(photos: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Add photos first"):
        order([])
    with pytest.raises(ValueError, match=f"25 photos are too many .* at most {MOST_PHOTOS}"):
        order(photos[:1] * 25)
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"^notes.png is not an image") as refused:
        order([*photos, str(tmp_path / "notes.png")])
    assert str(tmp_path) not in str(refused.value)


def test_the_zip_holds_an_audited_data_set_and_no_folder_of_the_server(
    photos: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    *progress, made = make_dataset(order(photos), folder, lambda: False)
    assert isinstance(made, Finished)
    assert [step.done for step in progress] == sorted(step.done for step in progress)
    assert (progress[0].done, progress[-1].done) == (0, 4)
    assert len(made.pairs) == 4
    with zipfile.ZipFile(made.archive) as file:
        file.extractall(tmp_path / "opened")
    root = tmp_path / "opened" / made.archive.stem
    assert {path.name for path in root.iterdir()} == {
        *("README.md", "audit.html", "data", "markers", "plan.parquet", "run.json")
    }
    assert len(read_plan(root / "plan.parquet")) == 4
    rows = [row for path in sorted(root.glob("data/*")) for row in pq.read_table(path).to_pylist()]
    assert [(row["photo"], row["degradation"]) for row in rows] == [
        *(("scene-2.png", "haze"), ("scene-2.png", "low_light")),
        *(("scene.png", "haze"), ("scene.png", "low_light")),
    ]
    for row, photo in ((rows[0], photos[1]), (rows[2], photos[0])):
        stored = np.asarray(Image.open(io.BytesIO(row["target"]["bytes"])))
        np.testing.assert_array_equal(stored, np.asarray(Image.open(photo)))
        assert row["mu_obtained"] > 0.01
    for path in root.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()


def test_the_same_seed_gives_the_same_pictures(photos: list[str], tmp_path: Path) -> None:
    def shards(name: str, seed: int) -> list[bytes]:
        (tmp_path / name).mkdir()
        list(make_dataset(order(photos, seed=seed), tmp_path / name, lambda: False))
        return [path.read_bytes() for path in sorted((tmp_path / name).glob("dataset/data/*"))]

    assert shards("one", 5) == shards("two", 5)
    assert shards("three", 6) != shards("four", 5)


def press_make(session: Session, photos: list[str], engine: str = "simulator") -> Iterator[tab.Page]:
    session.armed = session.cancels
    return tab.run(session, tab.OWN, photos, ["haze"], engine, 7, 2, 256)


def test_a_run_ends_with_files_and_leaves_no_folder(photos: list[str], temporary: Path) -> None:
    pages = press_make(Session(), photos)
    last = None
    for last in pages:
        if isinstance(last.archive, dict) and last.archive.get("value"):
            assert zipfile.is_zipfile(last.archive["value"])
            assert Path(last.report_file["value"]).read_text().startswith("<!doctype html>")
    assert last is not None
    assert "4 pairs" in last.status["text"]
    assert "The data set" in last.verdict["value"]
    assert "<iframe sandbox" in last.report["value"]
    assert "<script" not in last.report["value"]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("steps_before", [1, 2])
def test_a_cancel_stops_the_engine_and_leaves_nothing(
    photos: list[str], temporary: Path, steps_before: int
) -> None:
    engine, session = SlowEngine(steps=5), Session()
    with mock.patch.dict(engines.LOADED, {"gendeg": engine}):
        pages = press_make(session, photos, "gendeg")
        for _ in range(steps_before):
            next(pages)
        session.cancels += 1
        rest = list(pages)
    assert rest[-1].status["text"] == "Cancelled: nothing was kept."
    assert engine.finished == 0
    assert list(temporary.iterdir()) == []


def test_a_cancel_in_the_middle_of_a_photo(photos: list[str], temporary: Path) -> None:
    session = Session()

    class Impatient(SlowEngine):
        def run(self, *arguments: object, **named: object) -> Iterator[object]:  # type: ignore[override]
            session.cancels += self.started == 1
            yield from super().run(*arguments, **named)  # pyright: ignore[reportArgumentType]

    engine = Impatient(steps=3)
    with mock.patch.dict(engines.LOADED, {"gendeg": engine}):
        rest = list(press_make(session, photos, "gendeg"))
    assert rest[-1].status["text"] == "Cancelled: nothing was kept."
    assert (engine.started, engine.finished) == (2, 1)
    assert list(temporary.iterdir()) == []


def test_a_refusal_is_a_sentence_on_the_page_and_in_a_toast(temporary: Path) -> None:
    pages = press_make(Session(), [])
    emptied, told = next(pages), next(pages)
    assert emptied.archive["value"] is None
    assert told.status["text"] == "Add photos first, or choose the built-in examples."
    with pytest.raises(gr.Error, match="Add photos first"):
        next(pages)
    assert list(temporary.iterdir()) == []


def test_the_verdict_tells_pass_fail_and_not_judged_apart_and_escapes() -> None:
    checks = [Check("A", True, "fine"), Check("B", False, "<b>bad</b>"), Check("C", True, "not judged: few")]
    table = tab.verdict_table(checks, passed=False)
    assert [word in table for word in ('"pass">', '"fail">', '"open">')] == [True] * 3
    assert "fails its audit" in table
    assert "&lt;b&gt;bad" in table


def test_the_endpoint_makes_a_data_set(photos: list[str], tmp_path: Path) -> None:
    with serving(tmp_path / "gradio", SlowEngine()) as url:
        client = Client(url, verbose=False, download_files=tmp_path / "downloads")
        archive, report, record = client.predict(
            photos=[handle_file(photo) for photo in photos], degradations=["haze"], engine="simulator",
            per_image=1, api_name="/make_dataset",
        )  # fmt: skip
        assert (record["done"], record["total"]) == (2, 2)
        assert len(record["checks"]) == 6
        assert record["passed"] is all(check["passed"] for check in record["checks"])
        assert zipfile.is_zipfile(archive)
        assert Path(report).read_text().startswith("<!doctype html>")
        with pytest.raises(AppError, match="tick at least one"):
            client.predict(degradations=[], api_name="/make_dataset")
        documented = json.dumps(client.view_api(return_format="dict", print_info=False))
        assert "leave out for the built-in examples" in documented
