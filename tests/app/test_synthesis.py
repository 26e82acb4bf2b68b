"""The handlers of the Synthesize tab as plain functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import cancel, engines, grids, synthesis
from app.examples import example_photos
from app.session import Session, open_photo
from gendeg_core.images import read_photo, read_settings
from gendeg_core.statistics import to_uint8
from gendeg_core.synthesize import SimulatorEngine, degrade
from gendeg_core.types import Degradation, DegradationRequest
from tests.app.fakes import SlowEngine, write_scene

SIMULATED = ("haze", 0.2, 0.1, 7, "", "simulator", None, None, None)
SLOW = ("haze", 0.2, 0.1, 7, "", "gendeg", 4, 2.0, 1.0)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowEngine:
    engine = SlowEngine(steps=3)
    monkeypatch.setitem(engines.LOADED, "gendeg", engine)
    return engine


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = Session()
    session.photo = open_photo(write_scene(tmp_path / "scene.png"))
    return session


def skipped(part: object) -> bool:
    return part == gr.skip()


def last(steps: Iterator[object]) -> object:
    return list(steps)[-1]


def test_a_preview_shows_exactly_what_the_core_makes(session: Session) -> None:
    picture, heat = list(synthesis.preview(session, 256, *SIMULATED))
    clean = session.photo.copies[256]
    request = DegradationRequest(Degradation.HAZE, 0.2, 0.1, 7)
    expected = degrade(clean, request, SimulatorEngine())
    before, after = picture.compare
    np.testing.assert_array_equal(before, to_uint8(clean))
    np.testing.assert_array_equal(after, to_uint8(expected.degraded))
    obtained = [row["obtained"] for row in picture.readout["rows"]]
    assert obtained == [expected.mu_obtained, expected.sigma_obtained] == picture.pad["obtained"]
    assert skipped(picture.heat)
    assert heat.heat.size[0] == 600
    assert skipped(heat.compare)


def test_advanced_settings_reach_the_engine(session: Session, slow: SlowEngine) -> None:
    views = list(synthesis.preview(session, 256, *SLOW))
    assert [view.status["text"] for view in views[:3]] == [f"Rendering: step {k} of 3" for k in range(3)]
    sampling = slow.samplings[0]
    assert (sampling.steps, sampling.guidance, sampling.image_guidance) == (4, 2.0, 1.0)


def test_an_older_preview_stops_without_painting(session: Session, slow: SlowEngine) -> None:
    older = synthesis.preview(session, 256, *SLOW)
    next(older)
    newer = list(synthesis.preview(session, 256, *SLOW))
    (farewell,) = list(older)
    assert all(skipped(part) for part in farewell)
    assert not skipped(newer[-2].compare)
    assert (slow.started, slow.finished) == (2, 1)


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [(1, float("nan"), "mu=nan"), (0, "fog", "unknown degradation 'fog'"), (5, "magic", "unknown engine")],
)
def test_a_refused_preview_says_so_in_the_status_and_as_an_error(
    session: Session, position: int, value: object, words: str
) -> None:
    controls = list(SIMULATED)
    controls[position] = value
    steps = synthesis.preview(session, 256, *controls)
    assert words in next(steps).status["text"]
    with pytest.raises(gr.Error, match=words):
        next(steps)


def test_without_a_photo_the_visitor_is_asked_for_one() -> None:
    with pytest.raises(gr.Error, match="Add a photo first"):
        list(synthesis.preview(Session(), 256, *SIMULATED))
    with pytest.raises(gr.Error, match="Add a photo first"):
        list(synthesis.full_size(Session(), ".png", *SIMULATED))
    with pytest.raises(gr.Error, match="Add a photo first"):
        list(grids.draw_sweep(Session(), 256, *SIMULATED))


def test_a_refused_file_leaves_the_photo_and_the_caption(session: Session, tmp_path: Path) -> None:
    former = session.photo
    (tmp_path / "fake.png").write_text("hello")
    steps = synthesis.take_photo(session, str(tmp_path / "fake.png"), "my street")
    view = next(steps)
    assert "fake.png is not an image" in view.status["text"]
    assert view.photo["value"] == str(former.path)
    with pytest.raises(gr.Error, match="fake.png"):
        next(steps)
    assert session.photo is former


def test_a_new_photo_keeps_a_typed_caption_and_drops_that_of_an_example(
    session: Session, tmp_path: Path
) -> None:
    path = str(write_scene(tmp_path / "other.png"))
    assert skipped(next(synthesis.take_photo(session, path, "my street")).caption)
    assert next(synthesis.take_photo(session, path, example_photos()[0].caption)).caption == ""
    assert session.photo.name == "other"


def test_a_tiff_is_shown_as_a_copy_that_browsers_read(session: Session, tmp_path: Path) -> None:
    Image.open(session.photo.path).save(tmp_path / "scan.tif")
    view = next(synthesis.take_photo(session, str(tmp_path / "scan.tif"), ""))
    assert view.photo["value"].shape == (72, 96, 3)
    assert session.photo.path.name == "scan.tif"


def test_an_example_brings_its_caption_unless_one_was_typed(session: Session) -> None:
    path, caption = synthesis.take_example(session, 1, "")
    assert (path, caption) == (str(example_photos()[1].path), example_photos()[1].caption)
    assert skipped(synthesis.take_example(session, 0, "my own words")[1])


def test_examples_are_readable_photos_with_distinct_names() -> None:
    examples = example_photos()
    assert {"china", "flower", "mountain_lake", "street"} == {example.name for example in examples}
    assert all(min(read_photo(example.path).pixels.shape[1:]) >= 400 for example in examples)


@pytest.mark.parametrize(
    ("degradation", "mu", "sigma", "kept"),
    [("haze", 0.2, 0.1, True), ("low_light", 0.2, 0.1, True), ("motion_blur", 0.03, 0.045, True),
     ("motion_blur", 0.2, 0.1, False), ("raindrop", 0.2, 0.1, False), ("haze", 0.7, 0.4, False)],
)  # fmt: skip
def test_a_strength_that_no_published_picture_has_becomes_a_usual_one(
    degradation: str, mu: float, sigma: float, kept: bool
) -> None:
    got = synthesis.usual(degradation, mu, sigma)
    assert (got == (mu, sigma)) == kept
    drawn = np.array([synthesis.surprise(degradation, seed) for seed in range(400)])
    if not kept:
        assert np.abs(np.array(got) - np.median(drawn, 0)).max() < 0.03
    assert synthesis.usual(degradation, *got) == got


def test_surprise_is_drawn_from_the_published_histogram() -> None:
    draws = [synthesis.surprise("low_light", seed) for seed in range(300)]
    assert synthesis.surprise("low_light", 4) == draws[4]
    assert len(set(draws)) > 250
    assert np.mean([mu for mu, _ in draws]) > 2 * np.mean(
        [synthesis.surprise("rain", s)[0] for s in range(300)]
    )


def test_a_sweep_fills_tile_by_tile_over_the_published_range(session: Session, slow: SlowEngine) -> None:
    filled = []
    for tiles, _ in grids.draw_sweep(session, 256, *SLOW):
        if not skipped(tiles):
            filled.append(sum(tile.image is not None for tile in tiles.tiles))
    assert filled == [*range(21), 20]
    mus = [tile.mu for tile in tiles.tiles[:5]]
    sigmas = [tile.sigma for tile in tiles.tiles[::5]]
    assert mus == sorted(mus)
    assert sigmas == sorted(sigmas)
    assert all(tile.mu == mus[k % 5] and tile.sigma == sigmas[k // 5] for k, tile in enumerate(tiles.tiles))


def test_a_closed_tab_stops_the_engine(session: Session, slow: SlowEngine) -> None:
    steps = grids.draw_sweep(session, 256, *SLOW)
    for _ in range(8):
        next(steps)
    steps.close()
    assert slow.closed == 1
    assert slow.started < 4


def test_the_cancel_button_stops_the_engine_and_says_what_stays(session: Session, slow: SlowEngine) -> None:
    cancel.arm(session)
    steps = grids.draw_sweep(session, 256, *SLOW)
    for _ in range(8):
        next(steps)
    cancel.cancel(session)
    rest = list(steps)
    assert slow.closed == 1
    assert rest[-1][1]["text"].startswith("Cancelled after 1 of 20 pictures")
    assert len(rest) <= 2


def test_a_cancel_while_waiting_for_a_place_counts(session: Session, slow: SlowEngine) -> None:
    cancel.arm(session)
    cancel.cancel(session)
    assert "Cancelled after 0 of 20" in last(grids.draw_sweep(session, 256, *SLOW))[1]["text"]
    update, status = last(synthesis.full_size(session, ".png", *SLOW))
    assert (update["value"], status["text"]) == (None, "Cancelled: no file was written.")
    assert slow.finished == 0


def test_an_old_cancel_does_not_stop_new_work(session: Session, slow: SlowEngine) -> None:
    cancel.cancel(session)
    cancel.arm(session)
    assert "20 pictures in" in last(grids.draw_sweep(session, 256, *SLOW))[1]["text"]


def test_a_cancelled_preview_paints_nothing(session: Session, slow: SlowEngine) -> None:
    steps = synthesis.preview(session, 256, *SLOW)
    next(steps)
    cancel.cancel(session)
    (view,) = list(steps)
    assert "Cancelled" in view.status["text"]
    assert skipped(view.compare)


def test_all_six_asks_every_degradation_for_the_same(session: Session, slow: SlowEngine) -> None:
    tiles, status = last(grids.draw_all_six(session, 256, *SLOW))
    assert [tile.degradation for tile in tiles.tiles] == [kind.value for kind in Degradation]
    assert {(tile.mu, tile.sigma) for tile in tiles.tiles} == {(0.2, 0.1)}
    assert "6 pictures" in status["text"]


def test_the_full_size_file_keeps_depth_and_alpha_and_carries_its_settings(tmp_path: Path) -> None:
    import cv2

    pixels = np.random.default_rng(0).integers(9000, 40000, (300, 420, 4), np.uint16)
    cv2.imwrite(str(tmp_path / "deep.png"), pixels)
    session = Session()
    session.photo = open_photo(tmp_path / "deep.png")
    for update, status in synthesis.full_size(session, ".png", *SIMULATED):
        if not skipped(update):
            path = Path(update["value"])
            assert path.name == "deep_haze_mu0.20_sigma0.10_seed7.png"
            written, settings = read_photo(path), read_settings(path)
            assert status["text"].startswith("File ready: 420 × 300 pixels")
    assert (written.bits, tuple(written.pixels.shape)) == (16, (3, 300, 420))
    np.testing.assert_array_equal(written.alpha, read_photo(tmp_path / "deep.png").alpha)
    assert (settings["degradation"], settings["mu"], settings["seed"]) == ("haze", 0.2, 7)
    assert settings["mu_obtained"] == pytest.approx(0.2, abs=0.05)
    assert not path.exists()  # the temporary folder goes once the page has its own copy


def test_a_photo_that_was_cleaned_away_is_asked_for_again(session: Session) -> None:
    session.photo.path.unlink()
    with pytest.raises(gr.Error, match="no longer on the server"):
        list(synthesis.full_size(session, ".png", *SIMULATED))


def test_a_full_disk_is_a_sentence(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthesis, "write_photo", full)
    with pytest.raises(gr.Error, match="disk is full"):
        list(synthesis.full_size(session, ".png", *SIMULATED))


def test_one_pixel_photos_are_degraded_or_refused_with_a_sentence(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (90, 120, 160)).save(tmp_path / "dot.png")
    session = Session()
    session.photo = open_photo(tmp_path / "dot.png")
    for kind in Degradation:
        views = list(synthesis.preview(session, 256, kind.value, *SIMULATED[1:]))
        assert views[0].compare[1].shape == (1, 1, 3)
