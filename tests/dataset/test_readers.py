"""Pairs from our shards, from GenDS tables and from lq/gt folders, one reader for all."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gendeg_core.dataset import table_pairs
from gendeg_core.dataset.folder_pairs import match_names
from gendeg_core.dataset.pairs import PairReader, PairsError, spelled
from gendeg_core.dataset.readers import pairs_in
from gendeg_core.statistics import measure_uint8
from gendeg_core.types import Degradation
from tests.dataset.stored import KINDS, encoded, pixels, write_pair, write_shards
from train.common.data import pair_source
from train.common.options import RunOptions


def numbers(reader: PairReader) -> list[int]:
    """What the first pixel of each target tells; the degraded image must be its half."""
    found = []
    for pair in reader:
        assert pair["target"].dtype == pair["degraded"].dtype == np.uint8
        assert np.array_equal(pair["degraded"], pair["target"] // 2)
        found.append(int(pair["target"][0, 0, 0]))
    return found


# ------------------------------------------------------------------ our shards


def test_shards_give_their_rows_in_order(tmp_path: Path) -> None:
    reader = pairs_in(write_shards(tmp_path))
    assert len(reader) == 12
    assert numbers(reader) == list(range(12))
    pair = reader[9]  # random access, in the second shard
    assert pair["name"] == "photo 9.png|motion_blur|0"
    assert pair["degradation"] is KINDS[9 % 6]
    assert (pair["mu"], pair["sigma"]) == (9 / 1000, 9 / 2000)  # as stored, not measured again
    assert pair["caption"] == "scene 9"
    with pytest.raises(IndexError):
        reader[12]


def test_lossless_webp_is_read_too(tmp_path: Path) -> None:
    assert numbers(pairs_in(write_shards(tmp_path, (2,), kind="WEBP"))) == [0, 1]


def test_rejected_rows_are_skipped_unless_asked_for(tmp_path: Path) -> None:
    write_shards(tmp_path, rejected=(0, 4, 5, 11))
    assert numbers(pairs_in(tmp_path)) == [1, 2, 3, 6, 7, 8, 9, 10]
    everything = pairs_in(tmp_path, rejected=True)
    assert numbers(everything) == list(range(12))
    assert [pair["accepted"] for pair in everything][3:6] == [True, False, False]


def test_one_degradation_alone(tmp_path: Path) -> None:
    write_shards(tmp_path, rejected=(1,))
    assert numbers(pairs_in(tmp_path, degradation=KINDS[1])) == [7]
    write_shards(tmp_path / "all rejected", (1,), rejected=(0,))
    with pytest.raises(PairsError, match="no accepted pair"):
        pairs_in(tmp_path / "all rejected")


def test_the_plan_beside_the_shards_is_not_a_shard(tmp_path: Path) -> None:
    write_shards(tmp_path, (2,))
    pq.write_table(pa.table({"item_id": ["x"]}), tmp_path / "plan.parquet")
    assert len(pairs_in(tmp_path)) == 2
    with pytest.raises(PairsError, match="holds no pairs"):
        pairs_in(tmp_path / "plan.parquet")


def test_only_some_row_groups_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, g, **how: (reads.append(g), real(self, g, **how))[1]
    )
    reader = pairs_in(write_shards(tmp_path, (8,), group=2))
    for k in (0, 1, 0, 6, 7, 1):
        reader[k]
    assert reads == [0, 3]
    reads.clear()
    monkeypatch.setattr(table_pairs, "TABLE_BYTES", 1)
    reader = pairs_in(tmp_path)
    for k in (0, 1, 6, 7, 0):  # each time the other group is dropped
        reader[k]
    assert reads == [0, 3, 0]
    assert len(reader._tables._kept) == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_a_reader_travels_to_another_process_without_its_cache(tmp_path: Path) -> None:
    reader = pairs_in(write_shards(tmp_path, (40,)))
    reader[0]
    sent = pickle.dumps(reader)
    assert len(sent) < 4000
    assert numbers(pickle.loads(sent)) == list(range(40))


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    file = tmp_path / "data" / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(PairsError, match=r"train-00001-of-00002\.parquet is damaged"):
        pairs_in(tmp_path)


# ------------------------------------------------------------------ GenDS

SPELLINGS = ["Haze", "Rain", "Snow", "Motion blur", "Low-light", "Raindrops"]
GENDS = ["image_path", "target_path", "dataset", "degradation", "category", "degradation_sub_type", "split"]
GENDS += ["mu", "sigma", "random_sampled", "sampled_dataset"]


def gends_row(number: int, folder: Path) -> dict[str, object]:
    write_pair(folder, f"{number}.png", f"{number}.png", number)
    generated = number % 2 == 0
    values = ["", "", "RESIDE", SPELLINGS[number % 6], "Synthetic", "Original", "Train"]
    values += [0.25, 0.1, "False", "SID"] if generated else [None] * 4
    row = dict(zip(GENDS, values, strict=True))
    return row | {"image_path": f"lq/{number}.png", "target_path": f"gt/{number}.png"}


def check_gends(reader: PairReader) -> None:
    assert numbers(reader) == list(range(7))
    assert [pair["degradation"] for pair in reader] == [KINDS[n % 6] for n in range(7)]
    for pair in reader:  # the table's 0.25 was asked for, not obtained
        assert (pair["mu"], pair["sigma"]) == measure_uint8(pair["target"], pair["degraded"])
        assert pair["accepted"]


def test_gends_as_csv_beside_folders(tmp_path: Path) -> None:
    rows = [gends_row(n, tmp_path) for n in range(7)]
    with (tmp_path / "train.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, GENDS)
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "captions.csv").write_text("file,caption\na.png,a house\n")  # no index of pairs
    check_gends(pairs_in(tmp_path))
    check_gends(pairs_in(tmp_path / "train.csv"))
    assert numbers(pairs_in(tmp_path, degradation=Degradation.HAZE)) == [0, 6]


def test_gends_as_parquet_with_paths_or_with_images_inside(tmp_path: Path) -> None:
    rows = [gends_row(n, tmp_path) for n in range(7)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "index.parquet", row_group_size=2)
    check_gends(pairs_in(tmp_path))
    for row in rows:
        for name in ("image_path", "target_path"):
            row[name] = {"bytes": (tmp_path / str(row[name])).read_bytes(), "path": "elsewhere.png"}
    (tmp_path / "inside").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "inside" / "index.parquet", row_group_size=3)
    check_gends(pairs_in(tmp_path / "inside"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Low-Light", "low_light"),
        ("lowlight", "low_light"),
        ("Motion_Blur", "motion_blur"),
        ("motion", "motion_blur"),
    ]
    + [
        ("Raindrop", "raindrop"),
        ("raindrops", "raindrop"),
        ("Rain", "rain"),
        ("Hazy", "haze"),
        ("snow", "snow"),
    ],
)
def test_spellings(name: str, kind: str) -> None:
    assert spelled(name) is Degradation(kind)


def test_what_a_table_gets_wrong_is_said(tmp_path: Path) -> None:
    row = gends_row(0, tmp_path)

    def first(**changes: object) -> object:
        pq.write_table(pa.Table.from_pylist([row | changes]), tmp_path / "index.parquet")
        return pairs_in(tmp_path)[0]

    with pytest.raises(PairsError, match=r"row 0 \(index\.parquet\) has the unknown degradation 'sandstorm'"):
        first(degradation="sandstorm")
    with pytest.raises(PairsError, match="lacks one of its two images"):
        first(target_path=None)
    with pytest.raises(PairsError, match=r"lq/none\.png does not exist"):
        first(image_path="lq/none.png")
    Image.fromarray(pixels(0, 30, 40)).save(tmp_path / "gt" / "large.png")
    with pytest.raises(PairsError, match=r"target \(40x30\) and degraded image \(24x20\) differ in size"):
        first(target_path="gt/large.png")
    with pytest.raises(PairsError, match="an image of .* is damaged"):
        first(image_path={"bytes": encoded(pixels(0))[:60], "path": None})


# ------------------------------------------------------------------ folders


def test_equal_names_in_folders_named_after_their_degradation(tmp_path: Path) -> None:
    write_pair(tmp_path / "haze" / "outdoor", "a.png", "a.png", 0)
    write_pair(tmp_path / "Low-light", "deep/b.png", "deep/b.webp", 1)
    reader = pairs_in(tmp_path)
    assert {(pair["degradation"], pair["name"][-5:]) for pair in reader} == {
        (Degradation.HAZE, "a.png"),
        (Degradation.LOW_LIGHT, "b.png"),
    }
    pair = pairs_in(tmp_path / "haze")[0]
    assert pair["degradation"] is Degradation.HAZE
    assert (pair["mu"], pair["sigma"]) == measure_uint8(pair["target"], pair["degraded"])


def test_a_folder_that_does_not_tell_must_be_told(tmp_path: Path) -> None:
    write_pair(tmp_path / "mine", "a.png", "a.png", 3)
    with pytest.raises(PairsError, match="does not say which degradation"):
        pairs_in(tmp_path / "mine")
    assert numbers(pairs_in(tmp_path / "mine", degradation=Degradation.RAIN)) == [3]


@pytest.mark.parametrize(
    ("degraded", "clean"),
    [
        ("a.png", "a.png"),
        ("a.jpg", "a.png"),
        ("0012_0.9_0.16.jpg", "0012.png"),
        ("rain-007.png", "norain-007.png"),
        ("12_rain.png", "12_clean.png"),
        ("low00690.png", "normal00690.png"),
        ("city/3_x2.png", "city/3.png"),
    ],
)
def test_names_that_can_be_mapped(degraded: str, clean: str) -> None:
    others = ["001.png", "norain-008.png", "12_1_clean.png", "normal00691.png", "town/3.png"]
    assert match_names([degraded], [*others, clean], Path()) == {degraded: clean}


def test_the_longest_beginning_wins() -> None:
    assert match_names(["12_1_0.9.png"], ["12.png", "12_1.png"], Path()) == {"12_1_0.9.png": "12_1.png"}


def test_names_that_cannot_be_mapped() -> None:
    with pytest.raises(PairsError, match=r"lq/1\.png has no partner in gt"):
        match_names(["1.png"], ["10.png", "2.png"], Path())
    with pytest.raises(PairsError, match=r"1\.webp could belong to 1\.jpg or 1\.png"):
        match_names(["1.webp"], ["1.jpg", "1.png"], Path())


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(PairsError, match="must hold folders lq and gt"):
        pairs_in(tmp_path)
    with pytest.raises(PairsError, match="does not exist"):
        pairs_in(tmp_path / "none")
    (tmp_path / "notes.csv").write_text("file,caption\n")
    with pytest.raises(PairsError, match="no pair in"):
        pairs_in(tmp_path / "notes.csv")


# ------------------------------------------------------------------ training


def test_training_draws_crops_from_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, rejected=(2,))
    source = pair_source(RunOptions(pairs=(str(tmp_path),), size=16))
    seen = set()
    for k in range(60):
        pair = source.pair(3, k)
        assert pair["clean"].shape == (3, 16, 16)
        assert bool((pair["degraded"] == pair["clean"] // 2).all())
        number = int(pair["caption"].removeprefix("scene "))
        assert pair["degradation"] == number % 6
        seen.add(number)
    assert seen == set(range(12)) - {2}
    again = source.pair(3, 5)
    assert bool((again["clean"] == source.pair(3, 5)["clean"]).all())


def test_training_on_one_degradation_of_the_shards(tmp_path: Path) -> None:
    write_shards(tmp_path)
    source = pair_source(RunOptions(pairs=(f"snow={tmp_path}=2",), size=16))
    assert {source.pair(0, k)["caption"] for k in range(30)} == {"scene 2", "scene 8"}
