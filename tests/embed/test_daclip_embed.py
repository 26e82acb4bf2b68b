"""The command `embed` and the table it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gendeg_core import cli
from gendeg_core.embed.loading import load_embedder
from gendeg_core.embed.table import EmbeddingTable, read_table, write_table
from gendeg_core.images import read_photo
from gendeg_core.types import Degradation
from tests.dataset.stored import pixels, shard_row, write_shards
from tests.embed.tiny_daclip import tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "daclip")


def embed(*arguments: object) -> int:
    return cli.main(["embed", *map(str, arguments)])


def save(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number, 20 + number, 24)).save(path)
    return path


def test_photos_become_rows(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    files = [save(tmp_path / "real" / kind / f"{n}.png", n) for n, kind in enumerate(("haze", "misc"))]
    assert embed(tmp_path / "real", "--output", tmp_path / "e.parquet", "--weights", weights) == 0
    assert pq.read_table(tmp_path / "e.parquet").column_names[:5] == [
        "path", "content", "degradation", "predicted", "score",
    ]  # fmt: skip
    table, embedder = read_table(tmp_path / "e.parquet"), load_embedder(weights, "cpu")
    assert list(table.path) == [str(path) for path in files]
    for row, path in enumerate(files):
        content, degradation = embedder.embed(read_photo(path).pixels[None])
        np.testing.assert_allclose(table.content[row], content[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(table.degradation[row], degradation[0], rtol=1e-4, atol=1e-5)
        kinds, score = embedder.classify(degradation)
        assert table.predicted[row] == kinds[0]
        assert table.score[row] == pytest.approx(float(score[0]), rel=1e-3)
    assert table.label == ["haze", ""]
    assert table.set == ["real", "real"]
    assert table.mu is not None
    assert np.isnan(table.mu).all()
    assert (table.weights, table.source) == (embedder.weights, str(tmp_path / "real"))
    right = int(table.predicted[0] == "haze")
    assert f"recognised {right} of 1: haze {right}/1" in capsys.readouterr().out


def test_shards_bring_their_numbers(tmp_path: Path, weights: Path):
    from gendeg_core.dataset.schema import shard_schema

    (tmp_path / "set" / "data").mkdir(parents=True)
    rows = pa.Table.from_pylist([shard_row(n) for n in range(7)], shard_schema())
    pq.write_table(rows, tmp_path / "set" / "data" / "shard.parquet")
    options = ("--weights", weights, "--set", "GenDS", "--dataset", "ours", "--limit", 6)
    assert embed(tmp_path / "set", "--output", tmp_path / "e.parquet", *options) == 0
    table = read_table(tmp_path / "e.parquet")
    np.testing.assert_allclose(table.mu, np.arange(6) / 1000)
    np.testing.assert_allclose(table.sigma, np.arange(6) / 2000)
    assert table.label == [str(kind) for kind in Degradation]
    assert table.path[3] == "photo 3.png|motion_blur|0"
    assert set(table.set or []) == {"GenDS"}
    assert set(table.dataset or []) == {"ours"}


def test_shards_bring_what_was_asked_for(tmp_path: Path, weights: Path):
    shards = write_shards(tmp_path / "set", (3, 2))
    assert embed(shards, "--output", tmp_path / "e.parquet", "--weights", weights) == 0
    table = read_table(tmp_path / "e.parquet")
    np.testing.assert_array_equal(table.mu_asked, [0.1] * 5)
    np.testing.assert_array_equal(table.sigma_asked, [0.05] * 5)
    np.testing.assert_array_equal(table.seed, np.arange(5))
    assert table.engine == ["simulator"] * 5
    assert table.dataset == ["RESIDE"] * 5
    assert table.caption == [f"scene {k}" for k in range(5)]
    assert table.clean == [f"photo {k}.png" for k in range(5)]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_an_index_brings_what_was_asked_for(tmp_path: Path, weights: Path, kind: str):
    for name in ("lq/1_a.png", "lq/1_b.png", "gt/1.png"):
        save(tmp_path / "set" / name, 1)
    common = {"target_path": "gt/1.png", "degradation": "haze", "dataset": "REVIDE"}
    rows = [
        common | {"image_path": "lq/1_a.png", "mu": 0.25, "sampled_dataset": "RESIDE"},
        common | {"image_path": "lq/1_b.png", "mu": None, "sampled_dataset": None},
    ]
    index = pa.Table.from_pylist(rows)
    if kind == "csv":
        pa.csv.write_csv(index, tmp_path / "set" / "index.csv")
    else:
        pq.write_table(index, tmp_path / "set" / "index.parquet")
    assert embed(tmp_path / "set", "--output", tmp_path / "e.parquet", "--weights", weights) == 0
    table = read_table(tmp_path / "e.parquet")
    np.testing.assert_array_equal(table.mu_asked, [0.25, np.nan])
    np.testing.assert_array_equal(table.seed, [-1, -1])
    assert table.dataset == ["RESIDE", "REVIDE"]
    assert table.clean == [str(tmp_path / "set" / "gt" / "1.png")] * 2


def test_lq_of_pair_folders_is_embedded(tmp_path: Path, weights: Path):
    degraded = save(tmp_path / "rain" / "lq" / "a.png", 1)
    save(tmp_path / "rain" / "gt" / "a.png", 1)
    assert embed(tmp_path / "rain", "--output", tmp_path / "e.parquet", "--weights", weights) == 0
    table = read_table(tmp_path / "e.parquet")
    assert list(table.path) == [str(degraded)]
    assert table.label == ["rain"]
    np.testing.assert_allclose(table.mu, 0, atol=1e-9)  # both files are the same
    assert table.clean == [str(tmp_path / "rain" / "gt" / "a.png")]
    (tmp_path / "rain").rename(tmp_path / "mine")
    assert embed(tmp_path / "mine", "--output", tmp_path / "e.parquet", "--weights", weights) == 0
    assert read_table(tmp_path / "e.parquet").label == [""]


def test_an_index_with_a_wrong_number_is_told(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "set").mkdir()
    lines = "image_path,target_path,degradation,mu\na.png,b.png,haze,strong\n"
    (tmp_path / "set" / "index.csv").write_text(lines)
    assert embed(tmp_path / "set", "--output", tmp_path / "e.parquet", "--weights", weights) == 1
    error = capsys.readouterr().err
    assert "mu, sigma or seed is wrong (could not convert string to float: 'strong'); mend it" in error
    assert error.count("\n") == 1


def test_a_bad_photo_is_told_and_skipped(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]):
    save(tmp_path / "in" / "good.png", 1)
    (tmp_path / "in" / "bad.png").write_bytes(b"no photo")
    assert embed(tmp_path / "in", "--output", tmp_path / "e.parquet", "--weights", weights) == 1
    assert len(read_table(tmp_path / "e.parquet")) == 1
    assert "bad.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["in", "--output", "e.csv"], "does not end in .parquet"),
        (["in", "--output", "no/e.parquet"], "is no folder; make it first"),
        (["nowhere", "--output", "e.parquet"], "nowhere does not exist"),
        (["in", "--output", "e.parquet", "--limit", "0"], "--limit 0 must be 1 or more"),
        (["empty", "--output", "e.parquet"], "no photo (.png"),
        (["in", "--output", "e.parquet", "--weights", "empty"], "empty has no config.json"),
    ],
)
def test_unusable_arguments_end_with_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in" / "a.png", 1)
    (tmp_path / "empty").mkdir()
    assert embed(*arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "e.parquet").exists()


def test_a_table_survives_the_file(tmp_path: Path):
    rng = np.random.default_rng(0)
    table = EmbeddingTable(
        path=["a", "b"],
        content=rng.normal(size=(2, 4)).astype(np.float32),
        degradation=rng.normal(size=(2, 4)).astype(np.float32),
        predicted=["haze", "rain"],
        score=np.array([0.5, 0.9], np.float32),
        mu=np.array([0.1, np.nan]),
        set=["one", "two"],
        weights="daclip@0",
    )
    write_table(table, tmp_path / "t.parquet")
    again = read_table(tmp_path / "t.parquet")
    assert again.columns() == ["path", "content", "degradation", "predicted", "score", "mu", "set"]
    for column in again.columns():
        np.testing.assert_array_equal(getattr(again, column), getattr(table, column))
    assert again.content.dtype == np.float32
    assert again.weights == "daclip@0"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "t.parquet"]


def test_a_foreign_table_is_refused(tmp_path: Path):
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="has no column content; make the table with the command embed"):
        read_table(tmp_path / "t.parquet")
    (tmp_path / "n.parquet").write_text("nothing")
    with pytest.raises(ValueError, match="is no Parquet file"):
        read_table(tmp_path / "n.parquet")


def test_columns_must_be_equally_long():
    one = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match="column mu has 2 rows, path has 1"):
        EmbeddingTable(["a"], one, one, ["haze"], one[:, 0], mu=np.zeros(2))
