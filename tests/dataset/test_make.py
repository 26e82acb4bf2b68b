"""One photo to its rows: everything shared is made once, and a row tells all about its pictures."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gendeg_core.dataset.clock import Clock
from gendeg_core.dataset.engines import GenDegPhotos, SimulatorPhotos
from gendeg_core.dataset.filters import judge as real_judge
from gendeg_core.dataset.make import CleanPhoto, Maker, degrade_rows, encode_png, make_rows, read_clean
from gendeg_core.dataset.schema import SHARD_COLUMNS
from gendeg_core.generate.text_memory import TextMemory
from gendeg_core.images import ImageError
from gendeg_core.statistics import measure_uint8
from gendeg_core.synthesize import Sampling
from gendeg_core.types import Degradation, DegradationRequest
from tests.dataset.factory import FailingEngine, PaintEngine, draw_photos, judge, small_plan
from tests.generate.tiny import stable_diffusion_kind

KINDS = [kind.value for kind in Degradation]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_photos(tmp_path_factory.mktemp("photos"), 3)


def pixels_of(image: dict) -> np.ndarray:
    with Image.open(io.BytesIO(image["bytes"])) as opened:
        assert (opened.format, opened.mode) == ("PNG", "RGB")
        return np.asarray(opened)


def counted(pipeline) -> Counter:
    """Count what goes through the networks; returns the counter, by name and batch size."""
    calls: Counter = Counter()

    def watch(owner, name, size_of):
        original = getattr(owner, name)

        def method(argument, *rest, **options):
            calls[name, size_of(argument)] += 1
            return original(argument, *rest, **options)

        setattr(owner, name, method)

    watch(pipeline.vae, "encode", len)
    watch(pipeline.vae, "decode", len)
    watch(pipeline.text_encoder, "forward", len)
    watch(pipeline.unet, "forward", len)
    return calls


def test_the_requests_of_a_photo_share_what_they_can(photos):
    pipeline = stable_diffusion_kind(num_inference_steps=2)
    calls = counted(pipeline)
    maker = Maker({"gendeg": GenDegPhotos(pipeline, Sampling())}, judge)
    plan = small_plan(photos)
    make_rows(plan, plan.photo_rows(0), maker)
    # the photo as condition and once more for the round trip; six prompts and the empty one, each alone; two
    # steps of three branches of six; six results and the round trip
    assert calls == {
        ("encode", 1): 2,
        ("forward", 1): 7,
        ("forward", 18): 2,
        ("decode", 6): 1,
        ("decode", 1): 1,
    }
    calls.clear()
    make_rows(plan, plan.photo_rows(0), maker)
    assert calls["forward", 1] == 0, "prompts of before are remembered, the empty one among them"


def test_shared_work_paints_the_same_pictures(photos):
    plan = small_plan(photos)
    shared = GenDegPhotos(stable_diffusion_kind(), Sampling())
    clean = read_clean(plan, plan.photo_rows(1)[0]["photo"], Clock())
    together = degrade_rows(plan.photo_rows(1), clean, Maker({"gendeg": shared}, judge), Clock())
    pipeline = stable_diffusion_kind()
    for result in together:
        alone = pipeline([clean.pixels.clone()], [result.request])[0]
        assert (result.degraded - alone.degraded).abs().max() < 1 / 255
        assert (result.target - alone.target).abs().max() < 1 / 255


def test_remembered_embeddings_do_not_depend_on_what_else_is_remembered():
    pipeline = stable_diffusion_kind()
    prompts = ["a red house", "a lake", "", "a red car"]
    pipeline.text_memory = TextMemory()
    with torch.no_grad():
        first = pipeline.encode_text(prompts)
        pipeline.text_memory = TextMemory(capacity=2)
        for text, one in zip(prompts[::-1], first.flip(0), strict=True):
            assert torch.equal(pipeline.encode_text([text])[0], one)
        assert list(pipeline.text_memory.kept) == ["a lake", "a red house"]


def test_a_row_tells_everything(photos):
    plan = small_plan(photos, {"inside/photo 002.png": "a red house"}, degradations=("haze",), per_image=8)
    rows = make_rows(plan, plan.photo_rows(0), Maker({"gendeg": PaintEngine()}, judge, "code-7"))
    content = (photos / "inside/photo 002.png").read_bytes()
    for row, asked in zip(rows, plan.photo_rows(0), strict=True):
        assert list(row) == [name for name, _ in SHARD_COLUMNS]
        assert asked == {name: row[name] for name in asked}
        target, degraded = pixels_of(row["target"]), pixels_of(row["degraded"])
        with Image.open(io.BytesIO(content)) as photo:
            assert np.array_equal(target, np.asarray(photo))
        assert measure_uint8(target, degraded) == (row["mu_obtained"], row["sigma_obtained"])
        assert row["photo_hash"] == hashlib.blake2b(content, digest_size=16).hexdigest()
        kind, sampled = Degradation(row["degradation"]), row["sampled_dataset"]
        request = DegradationRequest(kind, 0.1, 0.1, caption="a red house", dataset=sampled)
        assert row["prompt"] == request.prompt
        facts = ("paint-1", "PaintScheduler", 3, "code-7", 0.5, 0.25)
        names = ("weights", "scheduler", "steps", "code_version", "alignment", "clipped")
        assert tuple(row[name] for name in names) == facts
        assert row["accepted"] == (row["mu_obtained"] <= 0.1) == (row["reason"] == "")
        assert row["degraded"]["path"] == f"photo 002-haze-{row['item_id'][-1]}.png"
    assert {row["accepted"] for row in rows} == {True, False}


def test_photos_are_reduced_to_the_size_of_the_plan(photos):
    for size, expected in ((20, (20, 24)), (0, (40, 49)), (64, (40, 49))):
        clean = read_clean(small_plan(photos, size=size), "photo 001.png", Clock())
        assert tuple(clean.pixels.shape[1:]) == expected
        whole = clean.pixels * 255
        assert torch.equal(whole.round() / 255, clean.pixels)
        assert 0 <= clean.pixels.min() <= clean.pixels.max() <= 1


def test_simulators_and_a_mix_of_engines(photos):
    plan = small_plan(photos, engine="gendeg=1,simulator=1", size=32)
    rows = next(rows for rows in map(plan.photo_rows, range(3)) if len({row["engine"] for row in rows}) == 2)
    made = make_rows(plan, rows, Maker({"gendeg": PaintEngine(), "simulator": SimulatorPhotos()}, real_judge))
    for row, asked in zip(made, rows, strict=True):
        assert row["item_id"] == asked["item_id"]
        if asked["engine"] == "simulator":
            assert row["weights"].startswith("simulator:")
            assert (row["scheduler"], row["steps"]) == ("", None)
        else:
            assert row["weights"] == "paint-1"


def test_stored_pictures_are_lossless():
    pixels = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    assert np.array_equal(pixels_of({"bytes": encode_png(pixels)}), pixels)


def test_what_cannot_be_done_is_said(photos, tmp_path):
    plan = small_plan(photos, {"photo 000.png": "trouble"})
    rows = plan.photo_rows(1)
    with pytest.raises(ValueError, match="NaN"):
        make_rows(plan, rows, Maker({"gendeg": FailingEngine()}, judge))
    moved = replace(plan, settings=replace(plan.settings, photos=str(tmp_path)))
    with pytest.raises(ImageError, match="does not exist"):
        make_rows(moved, rows, Maker({"gendeg": PaintEngine()}, judge))


def test_a_clock_credits_the_innermost_stage(monkeypatch):
    times = iter(range(0, 100, 10))
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = Clock()
    with clock.stage("generator"), clock.stage("decode"):
        pass
    with clock.stage("generator"):
        pass
    assert clock.seconds == {"generator": 10 + 10 + 10, "decode": 10}


def test_rows_come_out_in_the_order_of_the_plan_whatever_the_engine(photos):
    plan = small_plan(photos)
    rows = [row | {"engine": name} for row, name in zip(plan.photo_rows(0), "abacab", strict=True)]
    clean = CleanPhoto(torch.rand(3, 8, 8), "")
    results = degrade_rows(rows, clean, Maker(dict.fromkeys("abc", PaintEngine()), judge), Clock())
    assert [result.request.seed for result in results] == [row["seed"] for row in rows]
