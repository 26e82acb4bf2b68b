"""Shards: whole or not there, the same bytes each time, and readable by everyone."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import pyarrow.parquet as pq
import pytest

from gendeg_core.dataset.card import data_card
from gendeg_core.dataset.make import Maker
from gendeg_core.dataset.run import prepare
from gendeg_core.dataset.schema import shard_schema
from gendeg_core.dataset.shards import (
    Marker,
    iterate_rows,
    make_shard,
    outside_share,
    shard_steps,
    shards_done,
)
from tests.dataset.factory import FailingEngine, PaintEngine, draw_photos, judge, shard_digests, small_plan


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("photos"), 5)


def maker() -> Maker:
    return Maker({"gendeg": PaintEngine()}, judge, "code-1")


def test_shards_hold_the_plan_in_order_with_one_row_group_per_photo(photos, tmp_path):
    plan = small_plan(photos)
    markers = [make_shard(plan, k, tmp_path, maker()) for k in (2, 0, 1)]
    assert sorted(shards_done(tmp_path)) == [0, 1, 2]
    assert {k: asdict(m) for k, m in shards_done(tmp_path).items()} == {m.shard: asdict(m) for m in markers}
    assert [row["item_id"] for row in iterate_rows(tmp_path)] == plan.table["item_id"].to_pylist()
    assert list(iterate_rows(tmp_path, ["seed"])) == [
        {"seed": seed} for seed in plan.table["seed"].to_pylist()
    ]
    with pq.ParquetFile(tmp_path / "data" / "train-00001-of-00003.parquet") as shard:
        assert shard.schema_arrow.equals(shard_schema(), check_metadata=True)
        assert [shard.metadata.row_group(g).num_rows for g in range(shard.num_row_groups)] == [6, 6]


def test_the_same_plan_gives_the_same_bytes(photos, tmp_path):
    plan = small_plan(photos)
    for name in ("first", "second"):
        for k in range(plan.shard_count) if name == "first" else reversed(range(plan.shard_count)):
            make_shard(plan, k, tmp_path / name, maker())
    digests = shard_digests(tmp_path / "first")
    assert len(digests) == 6
    assert digests == shard_digests(tmp_path / "second")
    make_shard(plan, 1, tmp_path / "first", maker())
    assert digests == shard_digests(tmp_path / "first")
    other = small_plan(photos, seed=1)
    make_shard(other, 1, tmp_path / "other", maker())
    assert not set(shard_digests(tmp_path / "other").values()) & set(digests.values())


def test_the_target_is_stored_once_per_photo(photos, tmp_path):
    plan = small_plan(photos)
    make_shard(plan, 0, tmp_path, maker())
    rows = list(iterate_rows(tmp_path))[:6]
    assert len({row["target"]["bytes"] for row in rows}) == 1
    with pq.ParquetFile(tmp_path / "data" / "train-00000-of-00003.parquet") as shard:
        group = shard.metadata.row_group(0)
    sizes = {group.column(n).path_in_schema: group.column(n).total_compressed_size for n in range(4)}
    assert sizes["target.bytes"] < len(rows[0]["target"]["bytes"]) + 200
    assert sizes["degraded.bytes"] > sum(len(row["degraded"]["bytes"]) for row in rows)


def test_a_shard_is_finished_when_its_marker_is(photos, tmp_path):
    plan = small_plan(photos)
    marker = make_shard(plan, 0, tmp_path, maker())
    path = tmp_path / "markers" / "train-00000-of-00003.json"
    stored = path.read_text()
    for broken in ("", "{}", stored[:-10], json.dumps(asdict(marker) | {"size": marker.size + 1})):
        path.write_text(broken)
        assert shards_done(tmp_path) == {}
    path.write_text(stored)
    assert shards_done(tmp_path) == {0: marker}
    (tmp_path / "data" / "train-00000-of-00003.parquet").unlink()
    assert shards_done(tmp_path) == {}


@pytest.mark.parametrize("seen", [0, 1])
def test_a_shard_given_up_leaves_nothing(photos, tmp_path, seen):
    steps = shard_steps(small_plan(photos), 0, tmp_path, maker())
    for _ in itertools.islice(steps, seen + 1):
        pass
    assert list((tmp_path / "data").iterdir()) != []
    steps.close()
    assert list((tmp_path / "data").iterdir()) == []
    assert shards_done(tmp_path) == {}


def test_an_error_of_the_engine_leaves_nothing_and_is_told(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(PaintEngine, "make", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        make_shard(small_plan(photos), 0, tmp_path, maker())
    assert list((tmp_path / "data").iterdir()) == []


def test_photos_that_cannot_be_done_are_named_and_the_others_kept(tmp_path):
    photos = draw_photos(tmp_path / "photos", 5)
    plan = small_plan(photos, {"photo 002.png": "trouble"}, photos_per_shard=5)
    (photos / "photo 000.png").write_bytes(b"\x89PNG\r\n\x1a\n but not really")
    (photos / "photo 003.png").unlink()
    seen = []
    failing = Maker({"gendeg": FailingEngine()}, judge, "code-1")
    marker = make_shard(plan, 0, tmp_path / "out", failing, seen.append)
    assert marker.rows == 12
    assert list(marker.failed) == ["photo 000.png", "photo 002.png", "photo 003.png"]
    reasons = list(marker.failed.values())
    for reason, words in zip(
        reasons, ("damaged", "cannot be degraded: the picture holds NaN", "not exist"), strict=True
    ):
        assert words in reason
    assert [photo.reason for photo in seen if photo.reason] == reasons
    assert {row["photo"] for row in iterate_rows(tmp_path / "out")} == {
        "photo 001.png",
        "inside/photo 004.png",
    }
    assert [photo.items for photo in seen] == [6] * 5
    assert sum(marker.rejected.values()) == sum(photo.rejected for photo in seen) > 0


def test_stages_are_timed_and_what_waits_for_no_model_is_outside(photos, tmp_path):
    seen = []
    make_shard(small_plan(photos), 0, tmp_path, maker(), seen.append)
    for photo in seen:
        assert set(photo.seconds) == {"wall", "read", "generator", "encode", "check", "storage"}
        assert photo.seconds["wall"] >= photo.seconds["generator"] > 0
    assert outside_share(
        {"wall": 10, "generator": 6, "decode": 1, "structure": 1, "encode": 5}
    ) == pytest.approx(0.2)
    assert outside_share({}) == 0


def test_datasets_opens_the_folder_and_shows_pictures(photos, tmp_path):
    datasets = pytest.importorskip("datasets")
    plan = small_plan(photos)
    prepare(plan, tmp_path / "out")
    for k in range(plan.shard_count):
        make_shard(plan, k, tmp_path / "out", maker())
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["item_id"][:] == plan.table["item_id"].to_pylist()
    assert isinstance(loaded.features["degraded"], datasets.Image)
    assert loaded[7]["target"].size == (49, 40)
    assert loaded[7]["steps"] == 3


def test_the_card_counts_and_names_no_local_folder(photos):
    plan = small_plan(photos, degradations=("haze", "rain"), seed=4)
    card = data_card(plan)
    assert "10 planned pairs from 5 clean photos" in card
    assert "| rain | 5 |" in card
    assert "| snow |" not in card
    assert "run seed 4" in card
    assert str(photos) not in card
    for name, _ in [(field.name, None) for field in shard_schema()]:
        assert f"`{name}`" in card


def test_a_marker_counts_its_rows():
    assert Marker(0, {"haze": 3, "rain": 2}, {}, {}, 1, "").rows == 5
