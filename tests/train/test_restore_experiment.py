"""The restoration experiment from end to end, in small, and the arithmetic of its tables."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from safetensors.torch import load_file

from gendeg_core.weights import faults, read_record
from tests.train.conftest import reset_accelerate
from tests.train.drawn import draw_photo
from train import gendeg, restore_experiment
from train.common.errors import UsageError
from train.common.pool import PairPool
from train.experiment import data, report
from train.experiment.config import EXISTING, ExperimentConfig, command_of, embedded, tiny
from train.experiment.jobs import Run, all_runs
from train.experiment.statistics import Results, mean_columns, summarise
from train.experiment.testing import Score


def write_real_pairs(folder: Path) -> None:
    for number in range(3):
        image = draw_photo(30 + number, (90, 70))
        for part, pixels in (("gt", image), ("lq", image.point([v // 2 for v in range(256)] * 3))):
            (folder / "low_light" / "night" / part).mkdir(parents=True, exist_ok=True)
            pixels.save(folder / "low_light" / "night" / part / f"{number}.png")


@pytest.fixture(scope="module")
def experiment(finished: gendeg.GenDegConfig, tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """The configuration of a whole experiment that has ended."""
    folder = tmp_path_factory.mktemp("experiment")
    write_real_pairs(folder / "pairs")
    assert finished.photos is not None
    config = replace(
        tiny(), photos=finished.photos, captions=finished.captions, output=folder / "work",
        results=folder / "results", weights=folder / "weights", real_pairs=folder / "pairs",
        generator=finished.output / "weights", generator_saw="drawn photos",
    )  # fmt: skip
    reset_accelerate()
    restore_experiment.main(config)
    return config


def test_it_ends_in_tables_a_curve_and_weights(experiment: ExperimentConfig) -> None:
    results, weights = experiment.results, experiment.weights
    assert results is not None
    assert weights is not None
    text = (results / "tables.md").read_text()
    for words in ("Table 1", "Table 2", "Table 3", "drawn photos", "| low_light night (real pairs) | 3 |"):
        assert words in text
    assert (results / "scaling.png").stat().st_size > 5000
    rows = list(csv.DictReader((results / "images.csv").open()))
    assert len(rows) == 6 + 6 + 3
    assert {row["source"] for row in rows if row["test"] == "within"} == set(EXISTING.values())
    facts = json.loads((results / "experiment.json").read_text())
    assert str(experiment.output) not in json.dumps(facts)
    painted, rows = facts["generated"], list(data.pairs_in(experiment.data / "generated"))
    pool = PairPool.stored(experiment.data / "gends")
    different = {(pair["degradation"], pair["caption"]) for pair in map(pool.entry, range(pool.length))}
    photos = {row["caption"] for row in rows}  # each photo has a caption of its own
    assert painted == {"photos": len(photos), "accepted": len(rows), "distinct": len(different)}
    assert len(photos) <= 6, "two of each give the 12 pairs"
    assert f"12 crops of {len(different)} different pairs" in text
    assert f"that the generator made of {len(photos)} training photos" in text
    for name in ("nafnet_existing", "nafnet_gends"):
        assert faults(weights / name) == []
        label = json.loads((weights / name / "label.json").read_text())
        assert label["samples"] == experiment.steps * experiment.batch
        assert label["weak"].startswith("Small and briefly trained.")


def test_the_command_under_the_tables_repeats_the_experiment() -> None:
    config = replace(
        embedded(), seeds=(3,), scaling=(), generated_alone=False, generator_saw="drawn 'photos'",
        photos=Path("/secret/photos"), minutes=1.0,
    )  # fmt: skip
    command = shlex.split(command_of(config, 77))
    assert command[:5] == ["python", "-m", "train.restore_experiment", "--preset", "embedded"]
    again = tyro.cli(ExperimentConfig, default=embedded(), args=command[5:])
    folders = {"photos": again.photos, "captions": again.captions, "real_pairs": again.real_pairs}
    assert again == replace(config, steps=77, minutes=embedded().minutes, output=again.output, **folders)
    assert "secret" not in " ".join(command)


def test_a_run_per_sort_of_data_seed_and_number() -> None:
    config = replace(embedded(), models=("swin",), generated_alone=False)
    assert [run.name for run in all_runs(config)] == [
        f"swin-{name}-seed{seed}"
        for seed in (0, 1)
        for name in ("existing-0", "both-1200", "both-150", "both-450")
    ]


def test_repeating_it_changes_nothing_and_other_options_are_refused(experiment: ExperimentConfig) -> None:
    assert experiment.results is not None
    before = {path.name: path.read_bytes() for path in experiment.results.iterdir()}
    (
        experiment.output / "runs" / "nafnet-both-12-seed1" / "scores.csv"
    ).unlink()  # as if killed before testing
    restore_experiment.main(experiment)
    assert {path.name: path.read_bytes() for path in experiment.results.iterdir()} == before
    with pytest.raises(UsageError, match="batch was 4 and is now 2"):
        restore_experiment.main(replace(experiment, batch=2))
    with pytest.raises(UsageError, match="scaling=13 must be from 6 to the 12 pairs"):
        replace(experiment, scaling=(13,))


def test_runs_go_on_from_weights_and_the_record_tells_both_commands(
    experiment: ExperimentConfig, tmp_path: Path
) -> None:
    start = experiment.weights
    assert start is not None
    config = replace(
        experiment, output=tmp_path / "work", results=tmp_path / "results", weights=tmp_path / "weights",
        start=start, rate=0.5, loss="cautious", seeds=(0,), scaling=(), generated_alone=False, steps=2,
        batch=2,
    )  # fmt: skip
    shutil.copytree(experiment.data, config.data)
    reset_accelerate()
    restore_experiment.main(config)
    for name in ("nafnet_existing", "nafnet_gends"):
        assert faults(tmp_path / "weights" / name) == []
        before, after = (read_record(folder / name) for folder in (start, tmp_path / "weights"))
        assert after.recipe[:-1] == before.recipe
        assert "--loss cautious --start START --rate 0.5 --steps 2" in after.recipe[-1]
        assert after.samples == before.samples + 2 * config.batch
        old, new = (
            load_file(next((folder / name).glob("*.safetensors"))) for folder in (start, tmp_path / "weights")
        )
        apart = max((new[key].float() - old[key].float()).abs().max().item() for key in old)
        assert 0 < apart < 0.05, "two steps away"
    assert "They went on from nafnet_existing@" in (tmp_path / "results" / "tables.md").read_text()
    with pytest.raises(UsageError, match="add --no-generated-alone"):
        replace(experiment, start=start)
    with pytest.raises(UsageError, match="would replace what the runs start from"):
        replace(config, weights=start)


def test_one_sort_of_data_alone_is_gone_on_with(experiment: ExperimentConfig, tmp_path: Path) -> None:
    config = replace(
        experiment, output=tmp_path / "work", results=tmp_path / "results", weights=tmp_path / "weights",
        start=experiment.weights, only="both", seeds=(0,), scaling=(), generated_alone=False, steps=1,
    )  # fmt: skip
    shutil.copytree(experiment.data, config.data)
    reset_accelerate()
    restore_experiment.main(config)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["nafnet_gends"]
    assert "--only both" in read_record(tmp_path / "weights" / "nafnet_gends").recipe[-1]
    text = (tmp_path / "results" / "tables.md").read_text()
    assert "| degraded input | nafnet, GenDS (both) |" in text
    assert "Gains" not in text
    assert not (tmp_path / "results" / "scaling.png").exists()
    assert "nafnet_existing@" not in text
    with (tmp_path / "results" / "tables.csv").open() as file:
        assert {row["data"] for row in csv.DictReader(file)} == {"", "both"}
    with pytest.raises(UsageError, match="only=both leaves no other data"):
        replace(experiment, only="both")


def test_every_network_sees_every_sort_of_data_with_every_seed(experiment: ExperimentConfig) -> None:
    runs = all_runs(replace(experiment, models=("nafnet", "promptir", "swin"), scaling_model="swin"))
    assert len({run.name for run in runs}) == len(runs) == 3 * 3 * 2 + 2
    assert [run for run in runs if 0 < run.synthetic < 12] == [
        Run("swin", "both", seed, 6) for seed in experiment.seeds
    ]


def test_existing_data_and_tests_share_no_photo_and_differ_in_family(experiment: ExperimentConfig) -> None:
    training, tested, watched = data.split_photos(experiment)
    paths = [record.path for part in (training, tested, watched) for record in part]
    assert len(set(paths)) == len(paths) == 12
    within, left_out = (PairPool.stored(experiment.data / name) for name in ("within", "left-out"))
    for k in range(6):
        assert data.family_of(k, left_out=False) != data.family_of(k, left_out=True)
        one, other = within.entry(k), left_out.entry(k)
        assert one["clean"].equal(other["clean"])
        assert not one["degraded"].equal(other["degraded"])


@pytest.mark.parametrize(("every", "words"), [(1, "on all training photos."), (3, "on one of 3 training")])
def test_existing_data_shows_as_many_photos_as_asked(
    experiment: ExperimentConfig, monkeypatch: pytest.MonkeyPatch, every: int, words: str
) -> None:
    training, *_ = data.split_photos(experiment)
    config, sources = replace(experiment, existing_every=every), {}
    monkeypatch.setattr(data, "_pool", lambda _, name, source, __: sources.setdefault(name, source))
    data.make_data(config)
    assert sources["existing"].photos == training[::every]
    facts = {"command": "", "generator": "", "generator_saw": "", "steps": 1, "hardware": "", "start": []}
    facts["generated"] = data.generated_counts(experiment)
    runs = {run: [] for run in all_runs(config)}
    assert words in report.markdown(config, Results([], runs), facts, figure=False)
    with pytest.raises(UsageError, match="existing_every=0 must be at least 1"):
        replace(experiment, existing_every=0)


def test_a_gain_is_bold_where_interval_and_every_seed_agree() -> None:
    untouched = [Score("within", "haze", "x", f"haze{k}", 20, 0.5) for k in range(8)]
    runs: dict[Run, list[Score]] = {}
    for seed, gain in enumerate((3.0, 1.0, -1.0)):
        runs[Run("nafnet", "existing", seed, 0)] = untouched
        runs[Run("nafnet", "both", seed, 12)] = [replace(row, psnr=row.psnr + gain) for row in untouched]
    results = Results(untouched, runs)
    (column,) = mean_columns(results)
    before, after = results.seeds("nafnet", "existing", 0), results.seeds("nafnet", "both", 12)
    agreed, _ = report._gain(results, before[:2], after[:2], column).split(" / ")
    assert agreed == "**+2.00 [+2.00, +2.00] (+3.00, +1.00)**"
    disputed, _ = report._gain(results, before, after, column).split(" / ")
    assert disputed == "+1.00 [+1.00, +1.00] (+3.00, +1.00, -1.00)"


def test_groups_weigh_the_same_and_gains_are_paired() -> None:
    def score(kind: str, number: int, psnr: float) -> Score:
        return Score("within", kind, "x", f"{kind}{number}", psnr, psnr / 40)

    untouched = [score("haze", k, 20 + k) for k in range(3)] + [score("rain", 0, 31.0)]
    better = [replace(row, psnr=row.psnr + 1) for row in untouched]
    run = Run("nafnet", "existing", 0, 0)
    results = Results(untouched, {run: better})
    (column,) = mean_columns(results)
    assert summarise(results.values([], "psnr"), column).interval.mean == pytest.approx((21 + 31) / 2)
    gain = summarise(results.values([run], "psnr") - results.values([], "psnr"), column).interval
    assert (gain.mean, gain.low, gain.high) == pytest.approx((1, 1, 1))
    seeds = summarise(np.array([[1.0, 1, 1, 3], [3.0, 3, 3, 5]]), column).seeds
    assert seeds == pytest.approx((2, 4))
    with pytest.raises(ValueError, match="other images"):
        Results(untouched, {run: better[1:]})
