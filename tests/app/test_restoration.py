"""The handlers of the Restore tab as plain functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app import cancel, restoration, restore_intake, restored_files, restorers, synthesis
from app.restore_examples import degraded_examples
from app.restore_session import CLEAN, INPUT, RestoreSession
from app.session import Session, open_photo
from gendeg_core.images import read_photo, read_settings
from gendeg_core.metrics.fidelity import as_stored, psnr, ssim
from gendeg_core.restore.infer import restore
from gendeg_core.restore.loading import load_restorer
from gendeg_core.statistics import to_uint8
from tests.app.fakes import scene, write_scene
from tests.app.networks import SlowNet, shipped

KEYS = ["nafnet_existing", "nafnet_gends", "swin_gends"]


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    with shipped(tmp_path / "weights") as folder:
        yield folder


@pytest.fixture
def session(tmp_path: Path) -> RestoreSession:
    session = RestoreSession()
    session.photo = open_photo(write_scene(tmp_path / "scene.png"))
    return session


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowNet:
    """Stands where NAFNet with GenDS stands."""
    net = SlowNet()
    restorer = SimpleNamespace(net=net, model="nafnet", weights="slow@0", label=None)
    monkeypatch.setitem(restorers._loaded, ("nafnet", "gends"), restorer)
    return net


def with_clean(session: RestoreSession, tmp_path: Path) -> None:
    brighter = scene().astype(int) + 9
    Image.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(tmp_path / "clean.png")
    list(restore_intake.take_clean(session, str(tmp_path / "clean.png")))


def told(steps: Iterator[Any], words: str, error: type[Exception] = gr.Error) -> Iterator[Any]:
    """What a generator yields before it ends in an error with these words."""
    with pytest.raises(error, match=words):
        yield from steps


def skipped(part: object) -> bool:
    return part == gr.skip()


def shown(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_every_version_is_exactly_what_the_core_makes(session: RestoreSession) -> None:
    *_, page = restoration.compare(session, KEYS, 512)
    photo = read_photo(session.photo.path).pixels
    assert [version.key for version in session.comparison.versions] == [INPUT, *KEYS]
    for version in session.comparison.versions[1:]:
        expected = restore(load_restorer(*version.key.split("_")), photo)
        np.testing.assert_array_equal(shown(version.shown), to_uint8(expected))
    assert page.status["text"].startswith("3 networks at 96 × 72 pixels in ")
    assert [pane.title for pane in page.grid.panes] == [
        *("Input", "NAFNet, existing data", "NAFNet, existing + GenDS", "Swin, existing + GenDS")
    ]
    assert (page.left["value"], page.right["value"]) == (INPUT, KEYS[0])
    assert [shown(path).shape for path in page.swipe] == [(72, 96, 3)] * 2


def test_the_page_grows_network_by_network(session: RestoreSession) -> None:
    pages = list(restoration.compare(session, KEYS, 512))
    grids = [page.grid for page in pages if not skipped(page.grid)]
    assert [sum(pane.image is not None for pane in grid.panes) for grid in grids] == [1, 2, 3, 4, 4]
    assert all(len(grid.panes) == 4 for grid in grids)


def test_with_the_clean_photo_metrics_are_shown(session: RestoreSession, tmp_path: Path) -> None:
    with_clean(session, tmp_path)
    *_, page = restoration.compare(session, KEYS[:2], 512)
    clean = read_photo(tmp_path / "clean.png").pixels
    photo = read_photo(session.photo.path).pixels
    version = session.comparison.version(KEYS[0])
    expected = as_stored(restore(load_restorer("nafnet", "existing"), photo))
    assert (version.psnr, version.ssim) == (psnr(expected, clean), ssim(expected, clean))
    given = session.comparison.version(INPUT)
    assert given.psnr == pytest.approx(20 * np.log10(255 / 9), abs=0.05)
    table = page.numbers["value"]
    assert f"<td>{given.psnr:.2f}</td>" in table
    assert "PSNR" in table
    assert "brightness" not in table
    best = max(session.comparison.versions[2:], key=lambda one: one.psnr)
    assert f"<b>{best.psnr:.2f}</b>" in table
    assert page.grid.panes[-1].title == "Clean"
    assert f"{version.psnr:.2f} dB" in page.grid.panes[1].note


@pytest.mark.parametrize("side", [512, restoration.FULL])
def test_a_clean_version_that_comes_later_measures_what_is_there(
    tmp_path: Path, slow: SlowNet, side: int
) -> None:
    session = RestoreSession()
    session.photo = open_photo(write_scene(tmp_path / "wide.png", 1600, 700))
    list(restoration.compare(session, ["nafnet_existing", "nafnet_gends"], side))
    calls = slow.calls
    Image.fromarray(scene(1600, 700) // 2 + 9).save(tmp_path / "clean.png")
    list(restore_intake.take_clean(session, str(tmp_path / "clean.png")))
    *_, page = restoration.measure_anew(session, KEYS, restoration.FULL)
    assert slow.calls == calls
    found = session.comparison
    assert [pane.title for pane in page.grid.panes] == [
        *("Input", "NAFNet, existing data", "NAFNet, existing + GenDS", "Clean")
    ]
    assert "PSNR (dB)" in page.numbers["value"]
    list(restoration.compare(session, ["nafnet_existing", "nafnet_gends"], side))
    for key in (INPUT, "nafnet_existing", "nafnet_gends"):
        one, other = found.version(key), session.comparison.version(key)
        assert (one.psnr, one.ssim) == (other.psnr, other.ssim)
    list(restore_intake.take_clean(session, None))
    *_, page = restoration.measure_anew(session, KEYS, side)
    assert "brightness" in page.numbers["value"]
    assert [pane.title for pane in page.grid.panes][-1] == "NAFNet, existing + GenDS"


def test_without_it_facts_are_shown_and_no_winner(session: RestoreSession) -> None:
    *_, page = restoration.compare(session, KEYS[:2], 512)
    table = page.numbers["value"]
    assert "brightness" in table
    assert "PSNR (dB)" not in table
    assert "<b>" not in table
    assert "not known" in table


def test_the_clean_version_must_have_the_same_size(session: RestoreSession, tmp_path: Path) -> None:
    other = write_scene(tmp_path / "other.png", 80, 72)
    steps = restore_intake.take_clean(session, str(other))
    assert "80 × 72 pixels and the photo 96 × 72" in next(steps).status["text"]
    with pytest.raises(gr.Error, match="same pixels"):
        next(steps)
    assert session.clean is None


def test_a_new_photo_drops_the_clean_version_and_the_results(session: RestoreSession, tmp_path: Path) -> None:
    with_clean(session, tmp_path)
    list(restoration.compare(session, KEYS[:1], 512))
    view = next(restore_intake.take_photo(session, str(write_scene(tmp_path / "next.png", 64, 48))))
    assert (session.clean, session.comparison, session.photo.name) == (None, None, "next")
    assert view.clean is None


def test_a_refused_photo_changes_nothing(session: RestoreSession, tmp_path: Path) -> None:
    former = session.photo
    (tmp_path / "fake.png").write_text("hello")
    steps = restore_intake.take_photo(session, str(tmp_path / "fake.png"))
    view = next(steps)
    assert "fake.png is not an image" in view.status["text"]
    assert view.photo["value"] == str(former.path)
    with pytest.raises(gr.Error, match=r"fake\.png"):
        next(steps)
    assert session.photo is former


def test_a_large_photo_is_compared_small_or_in_full(tmp_path: Path, slow: SlowNet) -> None:
    session = RestoreSession()
    session.photo = open_photo(write_scene(tmp_path / "wide.png", 1400, 700))
    *_, page = restoration.compare(session, ["nafnet_gends"], 512)
    assert "at 1024 × 512 pixels (scaled down" in page.status["text"]
    *_, page = restoration.compare(session, ["nafnet_gends"], restoration.FULL)
    assert session.comparison.size == (1400, 700)
    assert "scaled down" not in page.status["text"]


def test_a_photo_that_takes_long_waits_for_the_button(session: RestoreSession, tmp_path: Path) -> None:
    session.photo = open_photo(write_scene(tmp_path / "large.png", 1600, 1200))
    (page,) = restoration.compare_at_once(session, KEYS, restoration.FULL)
    assert "Press “Restore” to start" in page.status["text"]
    assert "3 networks" in list(restoration.compare_at_once(session, KEYS, 512))[-1].status["text"]


def test_without_installed_networks_a_photo_is_taken_and_the_sentence_shown(
    session: RestoreSession, tmp_path: Path
) -> None:
    with shipped(tmp_path / "none", ()):
        (page,) = restoration.compare_at_once(session, [], 512)
        assert "No restoration networks are installed here yet" in page.status["text"]
        with pytest.raises(gr.Error, match="installed here yet"):
            list(restoration.compare(session, [], 512))


@pytest.mark.parametrize(
    ("keys", "side", "words"),
    [([], 512, "tick at least one"), (["magic"], 512, "unknown network"), (KEYS, 300, "size 300 is unknown")],
)
def test_a_refusal_is_told_in_the_status_and_as_an_error(
    session: RestoreSession, keys: list[str], side: int, words: str
) -> None:
    told = []
    with pytest.raises(gr.Error, match=words):
        told.extend(page.status["text"] for page in restoration.compare(session, keys, side))
    assert session.comparison is None


def test_without_a_photo_the_visitor_is_asked_for_one() -> None:
    with pytest.raises(gr.Error, match="Add a photo first"):
        list(restoration.compare(RestoreSession(), KEYS, 512))
    with pytest.raises(gr.Error, match="Add a photo first"):
        list(restored_files.full_size(RestoreSession(), KEYS[0], ".png"))


def test_an_older_run_stops_without_painting(session: RestoreSession, slow: SlowNet) -> None:
    older = restoration.compare(session, ["nafnet_gends", "swin_gends"], 512)
    while slow.calls == 0:
        next(older)
    session.take_ticket()
    rest = list(older)
    assert all(skipped(part) for part in rest[-1])
    assert session.comparison.version("swin_gends") is None


def test_a_cancel_keeps_what_is_finished(session: RestoreSession, slow: SlowNet) -> None:
    cancel.arm(session)
    pages = []
    for page in restoration.compare(session, KEYS, 512):
        pages.append(page)
        if session.comparison and session.comparison.version("nafnet_existing"):
            cancel.cancel(session)
    assert pages[-1].status["text"].startswith("Cancelled after 1 of 3 networks")
    assert slow.calls == 0
    assert [pane.title for pane in pages[-1].grid.panes] == ["Input", "NAFNet, existing data"]


def test_a_cancel_stops_between_two_tiles(tmp_path: Path, slow: SlowNet, monkeypatch) -> None:
    monkeypatch.setattr("gendeg_core.restore.infer.WHOLE", 0)
    monkeypatch.setattr("gendeg_core.restore.infer.LARGEST", 128)
    session = RestoreSession()
    session.photo = open_photo(write_scene(tmp_path / "wide.png", 600, 300))
    cancel.arm(session)
    told = []
    for page in restoration.compare(session, ["nafnet_gends"], 512):
        told.append("" if skipped(page.status) else page.status["text"])
        if "tile 3 of" in told[-1]:
            cancel.cancel(session)
            calls = slow.calls
    assert told[-1].startswith("Cancelled after 0 of 1 networks")
    assert slow.calls <= calls + 1


class FailingNet(SlowNet):
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_a_sentence_and_nothing_waits_for_ever(
    session: RestoreSession, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing = SimpleNamespace(net=FailingNet(error), model="nafnet", weights="fails@0", label=None)
    monkeypatch.setitem(restorers._loaded, ("nafnet", "gends"), failing)
    pages = list(told(restoration.compare(session, KEYS, 512), "not enough memory for this photo"))
    assert "not enough memory for this photo" in pages[-1].status["text"]
    assert [pane.title for pane in pages[-1].grid.panes] == ["Input", "NAFNet, existing data"]
    files = list(told(restored_files.full_size(session, "nafnet_gends", ".png"), "not enough memory"))
    assert "not enough memory" in files[-1][1]["text"]


def test_a_visitors_network_that_fails_is_named(
    session: RestoreSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.own = restorers.Choice("own", restorers.ANY, "/secret/mine.pth", "Your file mine.pth", (), "")
    failing = FailingNet(RuntimeError("shape '[1, 3]' is invalid\nat line 3"))
    own = SimpleNamespace(net=failing, model="other", weights="mine@0", label=None)
    monkeypatch.setitem(restorers._loaded, (restorers.ANY, "/secret/mine.pth"), own)
    words = r"Your file mine\.pth cannot restore this photo.* It says: shape '\[1, 3\]' is invalid\."
    *_, page = told(restoration.compare(session, [KEYS[0], "own"], 512), words)
    assert len(page.grid.panes) == 2


def test_an_error_of_ours_stays_loud_but_leaves_nothing_waiting(
    session: RestoreSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = SimpleNamespace(net=FailingNet(RuntimeError("a bug")), model="nafnet", weights="", label=None)
    monkeypatch.setitem(restorers._loaded, ("nafnet", "gends"), failing)
    *_, page = told(restoration.compare(session, KEYS, 512), "a bug", RuntimeError)
    assert len(page.grid.panes) == 2
    assert "went wrong" in page.status["text"]


def test_the_swipe_shows_any_two_versions(session: RestoreSession) -> None:
    list(restoration.compare(session, KEYS, 512))
    left, right = restoration.pair_shown(session, KEYS[1], KEYS[2])
    versions = session.comparison
    assert (left, right) == (versions.version(KEYS[1]).shown, versions.version(KEYS[2]).shown)
    assert restoration.pair_shown(session, "forged", KEYS[2])["value"] is None


def test_the_picture_of_the_synthesize_tab_comes_with_its_clean_one(session: RestoreSession) -> None:
    synthesized = Session()
    with pytest.raises(ValueError, match="no degraded picture yet"):
        restore_intake.take_shown(session, synthesized)
    synthesis.take_example(synthesized, 0, "")
    list(synthesis.preview(synthesized, 256, "haze", 0.2, 0.1, 7, "", "simulator", None, None, None))
    view = restore_intake.take_shown(session, synthesized)
    shown_there = synthesized.shown
    np.testing.assert_array_equal(shown(view.photo), to_uint8(shown_there.degraded))
    np.testing.assert_array_equal(shown(view.clean), to_uint8(shown_there.target))
    assert session.photo.name == "china_haze"
    *_, page = restoration.compare(session, KEYS[:1], 512)
    assert session.comparison.version(CLEAN) is not None
    assert "PSNR" in page.numbers["value"]


def test_a_new_photo_takes_the_picture_back_from_synthesize(tmp_path: Path) -> None:
    synthesized = Session()
    synthesis.take_example(synthesized, 0, "")
    list(synthesis.preview(synthesized, 256, "haze", 0.2, 0.1, 7, "", "simulator", None, None, None))
    assert synthesized.shown is not None
    list(synthesis.take_photo(synthesized, str(write_scene(tmp_path / "a.png")), ""))
    assert synthesized.shown is None


def test_examples_are_degraded_and_know_their_clean_photo() -> None:
    examples = degraded_examples()
    assert [one.title for one in examples] == ["haze", "rain", "snow", "motion blur", "low light", "raindrop"]
    for one in examples:
        degraded, clean = read_photo(one.path).pixels, read_photo(one.clean).pixels
        assert degraded.shape == clean.shape
        assert 0.02 < float((degraded - clean).abs().mean()) < 0.5


# ------------------------------------------------------------------------------------------- full size


def written(session: RestoreSession, key: str, suffix: str, folder: Path) -> Path:
    """The file that the page is given, kept before its temporary folder goes."""
    for update, status in restored_files.full_size(session, key, suffix):
        if not skipped(update):
            source = Path(update["value"])
            kept = folder / source.name
            kept.write_bytes(source.read_bytes())
            assert status["text"].startswith(f"File ready: {source.name}")
    assert not source.exists()
    return kept


def deep_photo(path: Path) -> Path:
    import cv2

    cv2.imwrite(str(path), np.random.default_rng(0).integers(9000, 40000, (90, 140, 4), np.uint16))
    return path


def test_the_file_keeps_depth_and_alpha_and_says_how_it_was_made(tmp_path: Path) -> None:
    session = RestoreSession()
    session.photo = open_photo(deep_photo(tmp_path / "deep.png"))
    path = written(session, "nafnet_gends", ".png", tmp_path)
    assert path.name == "deep_restored_nafnet_gends.png"
    photo, file = read_photo(tmp_path / "deep.png"), read_photo(path)
    assert (file.bits, tuple(file.pixels.shape)) == (16, (3, 90, 140))
    torch.testing.assert_close(file.alpha, photo.alpha)
    expected = restore(load_restorer("nafnet", "gends"), photo.pixels)
    torch.testing.assert_close(file.pixels, expected, atol=0.51 / 65535, rtol=0)
    settings = read_settings(path)
    assert (settings["restored_with"], settings["training"]) == ("nafnet", "existing + GenDS")
    assert settings["weights"].startswith("nafnet_gends@")


def test_exif_and_profile_travel_on(tmp_path: Path) -> None:
    from PIL import ImageCms

    exif = Image.Exif()
    exif[271] = "A camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(scene()).save(tmp_path / "shot.jpg", exif=exif, icc_profile=profile, quality=95)
    session = RestoreSession()
    session.photo = open_photo(tmp_path / "shot.jpg")
    with Image.open(written(session, "swin_gends", ".jpg", tmp_path)) as file:
        assert file.getexif()[271] == "A camera"
        assert file.info["icc_profile"] == profile


def test_what_was_compared_in_full_is_not_computed_again(tmp_path: Path, slow: SlowNet) -> None:
    session = RestoreSession()
    session.photo = open_photo(deep_photo(tmp_path / "deep.png"))
    first = read_photo(written(session, "nafnet_gends", ".png", tmp_path)).pixels
    list(restoration.compare(session, ["nafnet_gends"], 512))
    calls = slow.calls
    again = read_photo(written(session, "nafnet_gends", ".png", tmp_path)).pixels
    assert slow.calls == calls
    torch.testing.assert_close(first, again, atol=0, rtol=0)


def test_a_scaled_down_comparison_is_not_taken_for_the_file(tmp_path: Path, slow: SlowNet) -> None:
    session = RestoreSession()
    session.photo = open_photo(write_scene(tmp_path / "wide.png", 1400, 700))
    list(restoration.compare(session, ["nafnet_gends"], 512))
    path = written(session, "nafnet_gends", ".jpg", tmp_path)
    assert tuple(read_photo(path).pixels.shape) == (3, 700, 1400)


def test_a_cancelled_file_is_not_written(session: RestoreSession, slow: SlowNet) -> None:
    cancel.arm(session)
    steps = restored_files.full_size(session, "nafnet_gends", ".png")
    next(steps)
    cancel.cancel(session)
    update, status = list(steps)[-1]
    assert (update["value"], status["text"]) == (None, "Cancelled: no file was written.")
