"""Plans: what is asked of an item follows from its own seed, in published proportions; plans are files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gendeg_core.dataset.draw import draw_intensities, uniforms
from gendeg_core.dataset.plan import (
    Plan,
    PlanError,
    PlanSettings,
    list_photos,
    make_plan,
    parse_engines,
    read_plan,
    write_plan,
)
from gendeg_core.dataset.schema import PLAN_COLUMNS
from gendeg_core.seeds import sample_seed
from gendeg_core.statistics import MU_EDGES, SIGMA_EDGES, bin_index, published_histogram
from gendeg_core.types import Degradation, DegradationRequest, prompt
from tests.dataset.factory import draw_photos

ROOT = Path(__file__).parents[2]
PHOTOS = [f"a/{number:03d}.jpg" for number in range(60)]
KINDS = [kind.value for kind in Degradation]


def rows_of(photos: list[str] = PHOTOS, own: dict | None = None, **settings) -> list[dict]:
    return make_plan(PlanSettings("/photos", **settings), photos=photos, own=own).to_pylist()


def test_the_uniform_numbers_are_those_of_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]  # seed 1234567
    for number, output in enumerate(published):
        assert uniforms(np.array([1234567]), number)[0] == (output >> 11) * 2.0**-53


def test_an_item_asks_the_same_in_any_company():
    settings = {"every_nth_free": 0, "seed": 5, "engine": "gendeg=2,simulator=1"}
    alone = rows_of(PHOTOS[7:9], degradations=("snow", "rain"), **settings)
    among_others = {row["item_id"]: row for row in rows_of(**settings)}
    assert len(alone) == 4
    for row in alone:
        assert row == among_others[row["item_id"]]
        assert row["seed"] == sample_seed(5, row["item_id"])
    assert alone != rows_of(PHOTOS[7:9], degradations=("snow", "rain"), **settings | {"seed": 6})


@pytest.mark.parametrize("kind", list(Degradation))
def test_draws_follow_the_published_histograms(kind):
    count = 30_000
    drawn = draw_intensities(kind, np.arange(count) * 7919, np.zeros(count, bool))
    histogram = published_histogram(kind)
    centres = (MU_EDGES[:-1] + MU_EDGES[1:]) / 2
    for name, share in histogram.dataset_weights.items():
        here = drawn.dataset == name
        assert here.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / count))
        counts = histogram.mu_counts[name]
        mean = (counts * centres).sum() / counts.sum()
        error = drawn.mu[here].std() / np.sqrt(here.sum())
        assert drawn.mu[here].mean() == pytest.approx(mean, abs=5 * error)
    # every pair of bins has been seen together in the published data, and sigma has that row's mean
    mu_bins, sigma_bins = bin_index(drawn.mu, MU_EDGES), bin_index(drawn.sigma, SIGMA_EDGES)
    assert (histogram.joint[mu_bins, sigma_bins] > 0).all()
    busiest = np.bincount(mu_bins).argmax()
    row, sigma = histogram.joint[busiest], drawn.sigma[mu_bins == busiest]
    mean = (row * (SIGMA_EDGES[:-1] + SIGMA_EDGES[1:]) / 2).sum() / row.sum()
    assert sigma.mean() == pytest.approx(mean, abs=5 * sigma.std() / np.sqrt(len(sigma)))


@pytest.mark.parametrize("only_sigma", [False, True])
def test_free_items_cover_the_range_of_their_data_set(only_sigma):
    count = 4000
    kind = Degradation.MOTION_BLUR
    drawn = draw_intensities(kind, np.arange(count), np.ones(count, bool), only_sigma_free=only_sigma)
    histogram = published_histogram(kind)
    for name in histogram.mu_counts:
        here = drawn.dataset == name
        for values, counts, edges, is_free in (
            (drawn.mu, histogram.mu_counts[name], MU_EDGES, not only_sigma),
            (drawn.sigma, histogram.sigma_counts[name], SIGMA_EDGES, True),
        ):
            filled = np.flatnonzero(counts)
            low, high = edges[filled[0]], edges[filled[-1] + 1]
            middle = (values[here].mean() - low) / (high - low)
            assert low <= values[here].min() <= values[here].max() <= high
            assert (abs(middle - 0.5) < 0.05) == is_free
    assert abs(np.corrcoef(drawn.mu, drawn.sigma)[0, 1]) < 0.3


def test_every_twentieth_item_of_a_degradation_is_free_and_the_others_do_not_notice():
    rows, none_free = rows_of(), rows_of(every_nth_free=0)
    for kind in KINDS:
        free = [row["random_sampling"] for row in rows if row["degradation"] == kind]
        assert free == [number % 20 == 0 for number in range(len(PHOTOS))]
    for row, other in zip(rows, none_free, strict=True):
        assert (row["mu"] != other["mu"]) == row["random_sampling"]
        assert row["sampled_dataset"] == other["sampled_dataset"]


def test_a_photo_gets_one_of_each_degradation_that_its_own_data_set_lacks():
    own = {"a/003.jpg": ["haze"], "004.jpg": ["rain", "snow"], "a/005.jpg": KINDS}
    rows = rows_of(own=own)
    assert len({row["item_id"] for row in rows}) == len(rows) == 60 * 6 - 1 - 2 - 6
    made = {
        name: [r["degradation"] for r in rows if r["photo"] == f"a/{name}.jpg"] for name in ("003", "004")
    }
    assert made["003"] == KINDS[1:]
    assert made["004"] == [k for k in KINDS if k not in ("rain", "snow")]
    with pytest.raises(PlanError, match="already has every degradation"):
        rows_of(PHOTOS[5:6], own=own)


def test_per_image_draws_which_or_repeats():
    few = rows_of(per_image=2)
    assert len(few) == 120
    chosen = [tuple(r["degradation"] for r in few if r["photo"] == photo) for photo in PHOTOS]
    assert all(len(set(pair)) == 2 for pair in chosen)
    assert len(set(chosen)) > 8
    many = rows_of(PHOTOS[:2], own={PHOTOS[0]: ["haze", "rain"]}, per_image=10)
    for photo, kinds in ((PHOTOS[0], 4), (PHOTOS[1], 6)):
        ids = [row["item_id"] for row in many if row["photo"] == photo]
        counts = [sum(f"|{kind}|" in item for item in ids) for kind in KINDS]
        assert len(set(ids)) == 10
        assert sorted(counts)[-kinds:] == ([2, 2, 3, 3] if kinds == 4 else [1, 1, 2, 2, 2, 2])
        assert len({row["seed"] for row in many}) == 20


def test_engines_are_mixed_by_weight_and_can_be_exchanged_afterwards():
    settings = PlanSettings("/photos", engine="gendeg=3,simulator=1")
    plan = Plan(settings, make_plan(settings, photos=PHOTOS * 5))
    share = plan.table["engine"].to_pylist().count("simulator") / len(plan)
    assert share == pytest.approx(0.25, abs=0.04)
    other = plan.with_engine("simulator")
    assert set(other.table["engine"].to_pylist()) == {"simulator"}
    assert other.table.drop(["engine"]).equals(plan.table.drop(["engine"]))
    assert other.with_engine("gendeg=3,simulator=1").table.equals(plan.table)


def test_captions_are_found_by_path_then_by_name():
    captions = {"a/000.jpg": "by path", "000.jpg": "wrong", "001.jpg": "by name"}
    table = make_plan(PlanSettings("/photos", per_image=1), captions, photos=PHOTOS[:3])
    assert table["caption"].to_pylist() == ["by path", "by name", ""]


def test_the_prompt_names_haze_when_the_statistics_have_it():
    assert prompt("a hut", Degradation.SNOW, "CSD") == "a hut, in snowy and hazy conditions"
    assert prompt("", Degradation.RAIN, "ORD") == "in rainy and hazy conditions"
    assert prompt("a hut", Degradation.SNOW, "Snow100k") == "a hut, in snowy conditions"
    assert prompt("a hut", Degradation.RAIN, "CSD") == "a hut, in rainy conditions"
    asked = DegradationRequest(Degradation.RAIN, 0.1, 0.1, 1, "a hut", "ORD")
    assert asked.prompt == "a hut, in rainy and hazy conditions"


def test_a_plan_is_a_file(tmp_path):
    photos = draw_photos(tmp_path / "photos", 5)
    (photos / "notes.txt").write_text("no photo")
    assert list_photos(photos) == ["inside/photo 004.png", *(f"photo {n:03d}.png" for n in range(4))]
    settings = PlanSettings(str(photos), seed=3, size=64, photos_per_shard=2)
    table = make_plan(settings)
    write_plan(tmp_path / "plan.parquet", table)
    plan = read_plan(tmp_path / "plan.parquet")
    assert plan.settings == settings
    assert plan.table.equals(table)
    assert [(f.name, f.type) for f in plan.table.schema] == PLAN_COLUMNS
    assert (plan.photo_count, plan.shard_count, len(plan)) == (5, 3, 30)
    assert [list(plan.shard_photos(k)) for k in range(3)] == [[0, 1], [2, 3], [4]]
    assert [plan.shard_length(k) for k in range(3)] == [12, 12, 6]
    assert [row for n in range(5) for row in plan.photo_rows(n)] == table.to_pylist()


def test_small_data_sets_are_cut_finely_and_large_ones_into_64_photos():
    def per_shard(count: int) -> int:
        settings = PlanSettings("/photos", per_image=1)
        return Plan(
            settings, make_plan(settings, photos=[f"{n:06d}.png" for n in range(count)])
        ).photos_per_shard

    assert [per_shard(n) for n in (1, 32, 33, 64, 5000)] == [1, 1, 2, 2, 64]


def test_plans_that_contradict_themselves_are_refused(tmp_path):
    table = make_plan(PlanSettings("/photos"), photos=PHOTOS[:2])
    path = tmp_path / "plan.parquet"
    settings = json.loads(table.schema.metadata[b"gendeg_plan"])
    changed = table.set_column(8, "engine", pa.array(["magic"] * len(table)))
    for wrong, sentence in (
        (pa.concat_tables([table, table.slice(0, 1)]), "holds an item twice"),
        (table.take(list(range(0, 12, 2)) + list(range(1, 12, 2))), "not sorted by photo"),
        (changed, "engine 'magic'"),
        (table.drop(["seed"]), "no plan"),
        (table.replace_schema_metadata(None), "no plan"),
        (table.replace_schema_metadata({"gendeg_plan": json.dumps(settings | {"x": 1})}), "another version"),
    ):
        pq.write_table(wrong, path)
        with pytest.raises(PlanError, match=sentence):
            read_plan(path)
    path.write_text("no Parquet")
    with pytest.raises(PlanError, match="is not a plan"):
        read_plan(path)
    with pytest.raises(PlanError, match="there is no plan"):
        read_plan(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("magic", "not understood"),
        ("gendeg=1,gendeg=2", "not understood"),
        ("gendeg=0", "not a positive number"),
        ("gendeg=x", "not a positive number"),
        ("gendeg=inf,simulator=1", "not a positive number"),
        ("", "not understood"),
    ],
)
def test_engine_mixes_that_mean_nothing(text, sentence):
    with pytest.raises(PlanError, match=sentence):
        parse_engines(text)


def test_settings_that_make_nothing(tmp_path):
    good = PlanSettings("/photos")
    for change, sentence in (
        ({"per_image": 0}, "per_image=0"),
        ({"degradations": ()}, "no degradation"),
        ({"degradations": ("fog",)}, "unknown degradation 'fog'"),
        ({"size": -1}, "size=-1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            replace(good, **change)
    with pytest.raises(PlanError, match="no photo below"):
        list_photos(tmp_path)
    with pytest.raises(PlanError, match="not a folder"):
        list_photos(tmp_path / "missing")


LARGE = """
import re, sys, time
from pathlib import Path
from gendeg_core.dataset.plan import PlanSettings, make_plan, read_plan, write_plan

photos = [f"folder{n // 1000:03d}/photo_{n:06d}.jpg" for n in range(110_000)]
captions = {photo: f"a photo of {photo} that is described in some words" for photo in photos}
own = {photo: ["haze"] for photo in photos}
start = time.perf_counter()
write_plan(Path(sys.argv[1]), make_plan(PlanSettings("/photos"), captions, photos=photos, own=own))
seconds = time.perf_counter() - start
assert len(read_plan(sys.argv[1])) == 550_000
# the peak of this program alone; getrusage would count the parent's up to exec
print(seconds, int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024**2)
"""


def test_a_plan_for_550_000_pairs_takes_less_than_a_minute_and_a_gigabyte(tmp_path):
    command = [sys.executable, "-c", LARGE, str(tmp_path / "plan.parquet")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, gigabytes = map(float, done.stdout.split())
    assert seconds < 60
    assert gigabytes < 1
