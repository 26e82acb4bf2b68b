"""The command `project`: tables of embeddings to a map, a figure and numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gendeg_core import cli
from gendeg_core.embed.figures import FORMATS, colours_of, map_figure
from gendeg_core.embed.joining import MAP_METADATA, join_tables
from gendeg_core.embed.table import EmbeddingTable, write_table

KINDS = ("haze", "rain", "snow")
QUICK = ("--iterations", "30")


def table(
    count: int = 60, *, name: str = "", shift: float = 0, truth: bool = True, seed: int = 0
) -> EmbeddingTable:
    """`count` embeddings around one centre per kind; mu grows along an axis of its own."""
    rng = np.random.default_rng(seed)
    kinds = [KINDS[k % 3] for k in range(count)]
    mu = rng.uniform(0, 0.7, count)
    rows = 0.1 * rng.normal(0, 1, (count, 10))
    rows[np.arange(count), np.arange(count) % 3] += 1
    rows[:, 4] += mu
    rows[:, 7] += shift
    known = {"mu": mu, "sigma": mu / 2, "label": kinds} if truth else {}
    return EmbeddingTable(
        path=[f"photo{k // 3}.png|{kinds[k]}|0" for k in range(count)],
        content=rng.normal(0, 1, (count, 10)).astype(np.float32),
        degradation=rows.astype(np.float32),
        predicted=kinds,
        score=np.full(count, 0.9, np.float32),
        set=[name] * count if name else None,
        weights="drawn@1",
        source=f"/photos/{name or 'plain'}",
        **known,
    )


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """Two sets alike and one far away, whose file alone names it."""
    paths = [tmp_path / f"{name}.parquet" for name in ("first", "second", "away")]
    write_table(table(name="existing", seed=1), paths[0])
    write_table(table(name="GenDS", seed=2), paths[1])
    write_table(table(shift=9, truth=False, seed=3), paths[2])
    return [str(path) for path in paths]


def test_the_map_holds_every_photo_once(
    tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output, figure = tmp_path / "map.parquet", tmp_path / "map.png"
    code = cli.main(["project", *tables, "--output", str(output), "--figure", str(figure), *QUICK])
    assert code == 0
    stored = pq.read_table(output)
    assert stored.num_rows == 180
    assert stored["set"].to_pylist() == ["existing"] * 60 + ["GenDS"] * 60 + ["away"] * 60
    assert stored["source"].to_pylist()[::60] == ["/photos/existing", "/photos/GenDS", "/photos/plain"]
    assert stored["path"][61].as_py() == "photo0.png|rain|0"
    assert stored["label"].to_pylist()[119:121] == ["snow", ""]
    assert np.isnan(stored["mu"].to_numpy()[120:]).all()
    points = np.stack([stored["x"].to_numpy(), stored["y"].to_numpy()], axis=1)
    assert np.ptp(points, axis=0).min() > 1
    made = json.loads(stored.schema.metadata[MAP_METADATA])
    assert (made["column"], made["weights"], made["settings"]["iterations"]) == ("degradation", "drawn@1", 30)
    assert Image.open(figure).size == (1050, 1050)
    out = capsys.readouterr().out
    assert out.startswith(f"{output}\n{figure}\n180 photos, weights drawn@1\n")
    assert out.count("overlap of ") == 3
    assert "degradation by a linear probe: 1.000" in out


def test_numbers_as_json(tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["project", *tables, "--output", str(tmp_path / "map.parquet"), "--json", *QUICK]
    assert cli.main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    shares = {
        (pair["first"], pair["second"]): pair["neighbour_share"]["value"] for pair in record["overlaps"]
    }
    assert shares["existing", "GenDS"] == pytest.approx(0.5, abs=0.05)
    assert shares["existing", "away"] == shares["GenDS", "away"] == 0
    assert record["degradation_probe"]["names"] == list(KINDS)
    assert record["mu_probe"]["r2"] > 0.5
    assert record["remarks"] == []


def test_the_other_column_is_another_map(tables: list[str], tmp_path: Path):
    points = []
    for column in ("content", "degradation"):
        output = tmp_path / f"{column}-map.parquet"
        assert cli.main(["project", tables[0], "--column", column, "--output", str(output), *QUICK]) == 0
        points.append(pq.read_table(output)["x"].to_numpy())
    assert not np.allclose(*points)


def test_a_small_set_is_mapped_and_its_numbers_are_excused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name, count in (("many", 60), ("few", 3)):
        write_table(table(count, name=name), tmp_path / f"{name}.parquet")
    arguments = [str(tmp_path / f"{name}.parquet") for name in ("many", "few")]
    assert cli.main(["project", *arguments, "--output", str(tmp_path / "map.parquet"), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "overlap of 'few' is not measured: 3 photos are fewer than 20" in out
    assert "overlap of many" not in out
    assert pq.read_table(tmp_path / "map.parquet").num_rows == 63


def test_photos_without_a_truth_have_no_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "photos.parquet"
    write_table(table(truth=False), path)
    arguments = ["project", str(path), "--output", str(tmp_path / "map.parquet"), "--json", *QUICK]
    assert cli.main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["degradation_probe"] is record["mu_probe"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.parquet"], "none.parquet is not a file; name a table"),
        (["first.parquet", "--output", "first.parquet"], "is itself one of the tables"),
        (["first.parquet", "--output", "map.csv"], "map.csv does not end in .parquet"),
        (["first.parquet", "--output", "nowhere/map.parquet"], "nowhere is no folder"),
        (["first.parquet", "--figure", "map.gif"], "map.gif ends in none of png, pdf, svg"),
        (["first.parquet", "--perplexity", "40"], "perplexity=40.0 is too large for 60 photos"),
        (["first.parquet", "--metric", "manhattan"], "unknown metric 'manhattan'"),
        (["tiny.parquet"], "a map needs 5 photos or more, got 3"),
        (["first.parquet", "other.parquet"], "first was embedded with drawn@1, other with drawn@2"),
    ],
)
def test_what_cannot_be_projected(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    write_table(table(), Path("first.parquet"))
    write_table(table(3), Path("tiny.parquet"))
    write_table(replace(table(), weights="drawn@2"), Path("other.parquet"))
    if "--output" not in arguments:
        arguments = [*arguments, "--output", "map.parquet"]
    assert cli.main(["project", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not Path("map.parquet").exists()


def test_stopping_leaves_no_map(
    tables: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    from gendeg_core.embed import projection

    def stopped(*_arguments, **_named):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(projection, "project", stopped)
    assert cli.main(["project", tables[0], "--output", str(tmp_path / "map.parquet")]) == 130
    assert capsys.readouterr().err == "interrupted: no map written\n"
    assert not (tmp_path / "map.parquet").exists()


def test_versions_of_a_photo_share_its_name():
    joined = join_tables([table(6)], ["drawn"])
    assert joined.photos == ["photo0"] * 3 + ["photo1"] * 3
    assert joined.kinds == list(KINDS) * 2
    with pytest.raises(ValueError, match="there is no embedding"):
        join_tables([], [])


def test_the_clean_photo_tells_versions_where_names_do_not():
    """Versions whose names differ, one table beside another that knows less."""
    from dataclasses import replace

    versions = replace(table(6), path=[f"12_0.{k}.png" for k in range(6)], clean=["gt/12.png"] * 6)
    joined = join_tables([versions, replace(table(3), path=["12.jpg", "13.jpg", "14.jpg"])], ["a", "b"])
    assert joined.photos == ["12"] * 7 + ["13", "14"]


def test_versions_of_a_clean_photo_stay_on_one_side_of_the_split():
    """Embeddings that tell the photo alone, whose mu is its own: read out if a version is known, else not."""
    from dataclasses import replace

    from gendeg_core.embed.numbers import numbers_of

    rng = np.random.default_rng(0)
    photos = np.repeat(np.arange(40), 6)
    rows = (np.eye(40)[photos] + 0.01 * rng.normal(0, 1, (240, 40))).astype(np.float32)
    drawn = replace(
        table(240),
        path=[f"square{photo}_version{k}" for k, photo in enumerate(photos)],
        degradation=rows,
        mu=rng.random(40)[photos],
    )
    told = replace(drawn, clean=[f"square{photo}_clean" for photo in photos])
    probes = [numbers_of(join_tables([one], ["drawn"]), rows).mu for one in (drawn, told)]
    assert [probe is not None and probe.r2 > 0.5 for probe in probes] == [True, False]


def test_a_figure_shows_each_point_in_the_colour_of_its_name():
    points = np.array([[0.0, 0], [10, 0], [0, 10], [10, 10]] * 20)
    names = ["a", "b", "c", ""] * 20
    image = np.asarray(Image.open(io.BytesIO(map_figure(points, names))).convert("RGB")).astype(int)
    height, width = image.shape[:2]
    quarters = {
        "a": image[height // 2 : int(height * 0.9), : width // 2],
        "b": image[height // 2 : int(height * 0.9), width // 2 :],
        "c": image[: height // 2, : width // 2],
        "": image[: height // 2, width // 2 :],
    }
    for name, colour in colours_of(names).items():
        wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        for place, quarter in quarters.items():
            near = (np.abs(quarter - wanted).max(axis=2) < 25).sum()
            assert (near > 20) == (place == name), (name, place, near)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_map_is_the_same_file(file_format: str):
    points = np.random.default_rng(0).normal(0, 1, (30, 2))
    mu = np.linspace(0, 0.7, 30)
    mu[3] = np.nan
    draw = [map_figure(points, mu, colour_label="mu", file_format=file_format) for _ in range(2)]
    assert draw[0] == draw[1]
    assert draw[0][:4] in (b"\x89PNG", b"%PDF", b"<?xm")


def test_figures_refuse_what_they_cannot_draw():
    with pytest.raises(ValueError, match="3 points need as many colours"):
        map_figure(np.zeros((3, 2)), ["a"])
    with pytest.raises(ValueError, match="unknown format 'gif'"):
        map_figure(np.zeros((1, 2)), ["a"], file_format="gif")
