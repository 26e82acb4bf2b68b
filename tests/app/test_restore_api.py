"""/restore and /list_restorers through `gradio_client` against the served app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from gendeg_core.images import read_photo
from gendeg_core.metrics.fidelity import as_stored, psnr
from gendeg_core.restore.infer import restore
from gendeg_core.restore.loading import load_restorer
from gendeg_core.statistics import to_uint8
from tests.app.fakes import SlowEngine, write_scene
from tests.app.networks import SHIPPED
from tests.app.serving import serving


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("gradio"), SlowEngine()) as url:
        yield Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("photos") / "scene.png", 200, 140)


def test_the_restored_photo_is_exactly_what_the_core_makes(client: Client, photo: Path) -> None:
    path, record = client.predict(
        photo=handle_file(str(photo)), model="swin", weights="gends", api_name="/restore"
    )
    pixels = read_photo(photo).pixels
    expected = restore(load_restorer("swin", "gends"), pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), to_uint8(expected))
    assert Path(path).name == "scene_restored_swin_gends.png"
    assert record["weights"].startswith("swin_gends@")
    assert record["training"] == "existing + GenDS"
    assert "photo" not in record


def test_with_the_clean_photo_the_record_has_metrics(client: Client, photo: Path) -> None:
    given = handle_file(str(photo))
    _, record = client.predict(photo=given, clean=given, tile=128, api_name="/restore")
    pixels = read_photo(photo).pixels
    expected = as_stored(restore(load_restorer("nafnet", "gends"), pixels, tile=128))
    assert record["restored"]["psnr"] == pytest.approx(psnr(expected, pixels), abs=1e-6)
    assert record["photo"] == {"psnr": 100, "ssim": pytest.approx(1)}
    assert record["tile"] == 128


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photo": None}, "no photo was given"),
        ({"tile": 7}, "tile=7 is below"),
        ({"model": "promptir", "weights": "existing"}, "unknown network 'promptir_existing'"),
    ],
)
def test_a_refusal_is_a_sentence(client: Client, photo: Path, changes: dict[str, object], words: str) -> None:
    arguments: dict[str, object] = {"photo": handle_file(str(photo))} | changes
    with pytest.raises(AppError, match=words):
        client.predict(**arguments, api_name="/restore")


def test_a_clean_photo_of_another_size_is_refused(client: Client, photo: Path, tmp_path: Path) -> None:
    other = write_scene(tmp_path / "other.png", 100, 70)
    with pytest.raises(AppError, match="200 x 140 and 100 x 70"):
        client.predict(photo=handle_file(str(photo)), clean=handle_file(str(other)), api_name="/restore")


def test_the_installed_networks_are_listed_with_what_is_known(client: Client) -> None:
    listed = client.predict(api_name="/list_restorers")
    assert [(one["model"], one["weights"]) for one in listed] == list(SHIPPED)
    assert all("good for nothing" in one["about"] for one in listed)
