"""The named endpoints through `gradio_client` against the served app."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from gendeg_core.images import read_photo, read_settings
from gendeg_core.statistics import to_uint8
from gendeg_core.synthesize import SimulatorEngine, degrade
from gendeg_core.types import Degradation, DegradationRequest
from tests.app.fakes import SlowEngine, write_scene
from tests.app.serving import serving

ENGINE = SlowEngine(steps=4, pause=0.05)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("gradio"), ENGINE) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("photos") / "scene.png", 200, 140)


def call(client: Client, path: Path, **changes: object) -> tuple[str, dict[str, object]]:
    arguments: dict[str, object] = {"degradation": "snow", "mu": 0.1, "sigma": 0.08, "seed": 5}
    arguments |= {"engine": "simulator", "photo": handle_file(str(path))} | changes
    return client.predict(**arguments, api_name="/degrade")


def test_only_the_named_endpoints_are_public(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    expected = {"/degrade", "/sample_intensity", "/sweep", "/all_six", "/make_dataset"}
    assert set(named) == expected | {"/restore", "/list_restorers", "/embed", "/project", "/place"}
    parameters = [parameter["parameter_name"] for parameter in named["/degrade"]["parameters"]]
    assert parameters == ["photo", "degradation", "mu", "sigma", "seed", "caption", "engine", "steps"]
    assert "same seed, same picture" in json.dumps(named["/degrade"])


def test_degrade_returns_exactly_what_the_core_makes(client: Client, photo: Path) -> None:
    path, record = call(client, photo)
    request = DegradationRequest(Degradation.SNOW, 0.1, 0.08, 5)
    expected = degrade(read_photo(photo).pixels, request, SimulatorEngine())
    np.testing.assert_array_equal(to_uint8(read_photo(path).pixels), to_uint8(expected.degraded))
    assert record["mu_obtained"] == pytest.approx(expected.mu_obtained)
    assert record["sigma_obtained"] == pytest.approx(expected.sigma_obtained)
    assert (record["weights"], record["seed"]) == (expected.weights, 5)
    assert read_settings(path) == record
    assert Path(path).name == "scene_snow_mu0.10_sigma0.08_seed5.png"


def test_sample_intensity_is_fixed_by_its_seed(client: Client) -> None:
    first, again, other = (client.predict("haze", seed, api_name="/sample_intensity") for seed in (3, 3, 4))
    assert first == again != other
    assert all(0 <= value <= 0.7 for value in first)


def test_sweep_and_all_six_return_one_file_and_record_each(client: Client, photo: Path) -> None:
    paths, records = client.predict(
        handle_file(str(photo)), "haze", 7, 3, 2, engine="gendeg", api_name="/sweep"
    )
    assert len(paths) == len(records) == 6
    assert [record["sigma"] for record in records] == sorted(record["sigma"] for record in records)
    paths, records = client.predict(handle_file(str(photo)), 0.1, 0.05, engine="gendeg", api_name="/all_six")
    assert [record["degradation"] for record in records] == [kind.value for kind in Degradation]
    assert len(paths) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"degradation": "fog"}, "fog is not in the list of choices"),
        ({"mu": 5}, "mu=5.0 is outside 0 to 0.7"),
        ({"sigma": -1}, "sigma=-1.0 is outside 0 to 0.4"),
        ({"mu": None}, "mu must be a number"),
        ({"seed": -1}, "seed=-1"),
        ({"steps": 0}, "steps=0 is outside 1 to 1000"),
        ({"photo": None}, "no photo was given"),
    ],
)
def test_errors_are_one_sentence(client: Client, photo: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(AppError) as caught:
        call(client, photo, **changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["fake", "truncated", "empty"])
def test_damaged_files_are_refused_and_the_app_lives_on(
    client: Client, photo: Path, tmp_path: Path, damage: str
) -> None:
    data = {"fake": b"<html>no photo</html>", "truncated": photo.read_bytes()[:700], "empty": b""}[damage]
    (tmp_path / "broken.png").write_bytes(data)
    with pytest.raises(AppError, match="broken.png") as caught:
        call(client, tmp_path / "broken.png")
    assert "/" not in str(caught.value)  # no folders of the server
    assert call(client, photo)[1]["degradation"] == "snow"


def posted_answer(url: str, request: urllib.request.Request) -> str:
    """What the event stream of a call sent by hand says."""
    with urllib.request.urlopen(request, timeout=20) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/degrade/{event}", timeout=20) as answer:
        return answer.read().decode()


def test_nan_sent_by_hand_is_refused(url: str, client: Client, photo: Path) -> None:
    """`gradio_client` refuses to send NaN, a script of its own may not."""
    body = b'{"data": [null, "haze", NaN, 0.1, 7, "", "simulator", null], "session_hash": "nan"}'
    request = urllib.request.Request(
        f"{url}gradio_api/call/degrade", body, {"Content-Type": "application/json"}
    )
    assert "event: error" in posted_answer(url, request)
    assert call(client, photo)[1]["degradation"] == "snow"


def test_two_clients_are_served_side_by_side(url: str, photo: Path, tmp_path: Path) -> None:
    slow = ENGINE.pause * ENGINE.steps
    clients = [Client(url, verbose=False, download_files=tmp_path / str(k)) for k in range(2)]
    results: dict[int, dict[str, object]] = {}
    spans: dict[int, tuple[float, float]] = {}

    def work(k: int) -> None:
        started = time.perf_counter()
        results[k] = call(clients[k], photo, engine="gendeg", degradation="haze", mu=0.1 * (k + 1))[1]
        spans[k] = (started, time.perf_counter())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[k]["mu"] for k in range(2)] == [0.1, 0.2]
    assert results[0]["mu_obtained"] < results[1]["mu_obtained"]
    assert min(end for _, end in spans.values()) - max(start for start, _ in spans.values()) >= slow / 2


def test_settings_of_one_client_do_not_leak_into_another(url: str, client: Client, photo: Path) -> None:
    first = call(client, photo, seed=1)[1]
    call(client, photo, seed=2, degradation="rain")
    assert {**call(client, photo, seed=1)[1], "seconds": 0} == {**first, "seconds": 0}
