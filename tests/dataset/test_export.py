"""Tar files that WebDataset opens, an upload that a stand-in for the Hub receives, and `datasets`."""

from __future__ import annotations

import fnmatch
import json
import tarfile
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import HfApi
from PIL import Image

from gendeg_core.dataset import export
from gendeg_core.dataset.export import ExportError, export_webdataset, upload
from gendeg_core.dataset.plan import Plan, PlanSettings, make_plan
from gendeg_core.dataset.readers import pairs_in
from gendeg_core.dataset.run import run_plan
from gendeg_core.statistics import measure_uint8
from tests.dataset.stored import pixels, write_shards
from tests.train.drawn import draw_photo

# ------------------------------------------------------------------ WebDataset


def test_the_tar_files_hold_what_the_shards_hold(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset", reason="pip install webdataset to open the tar files with it")
    shards = write_shards(tmp_path / "made", rejected=(3,))
    seen: list[tuple[int, int]] = []
    tars = export_webdataset(shards, tmp_path / "out", 4, on_progress=lambda *done: seen.append(done))
    assert seen == [(4, 11), (8, 11), (11, 11)]
    assert [tar.name for tar in tars] == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    samples = list(wds.WebDataset([str(tar) for tar in tars], shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == [f"{k:08d}" for k in range(11)]
    for sample, number in zip(samples, [0, 1, 2, *range(4, 12)], strict=True):
        assert np.array_equal(sample["target.png"], pixels(number))
        assert np.array_equal(sample["degraded.png"], pixels(number) // 2)
        assert sample["json"]["seed"] == number
        assert sample["json"]["mu_obtained"] == number / 1000
        assert sample["json"]["steps"] is None


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_same_pairs_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_webdataset(write_shards(tmp_path / name), tmp_path / f"{name} out", 5)
    assert contents(tmp_path / "one out") == contents(tmp_path / "two out")


def test_an_interrupted_export_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = write_shards(tmp_path / "made")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    export_webdataset(shards, whole, 3)

    def stop_in_the_third(done: int, _: int) -> None:
        if done == 6:
            monkeypatch.setattr(export, "_add", fail)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context(), pytest.raises(KeyboardInterrupt):
        export_webdataset(shards, broken, 3, on_progress=stop_in_the_third)
    monkeypatch.undo()
    assert [tar.name for tar in sorted(broken.glob("*.tar"))] == ["train-000000.tar", "train-000001.tar"]
    kept = (broken / "train-000000.tar").stat().st_mtime_ns
    (broken / "train-000001.tar").unlink()  # a gap is filled too
    export_webdataset(shards, broken, 3)
    assert (broken / "train-000000.tar").stat().st_mtime_ns == kept
    assert contents(broken) == contents(whole)


def test_other_formats_become_png(tmp_path: Path) -> None:
    (tar,) = export_webdataset(write_shards(tmp_path / "made", (2,), kind="WEBP"), tmp_path / "out")
    with tarfile.open(tar) as opened:
        for member in opened.getmembers():
            start = opened.extractfile(member).read(4)  # pyright: ignore[reportOptionalMemberAccess]
            assert start == (b"\x89PNG" if member.name.endswith("png") else b'{"ac')


def test_rejected_pairs_can_come_along(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "made", rejected=(1, 2))
    (tar,) = export_webdataset(shards, tmp_path / "out", rejected=True)
    with tarfile.open(tar) as opened:
        facts = [json.load(opened.extractfile(m)) for m in opened if m.name.endswith("json")]  # pyright: ignore
    assert [fact["reason"] for fact in facts][:4] == ["", "too weak", "too weak", ""]


def test_two_exports_are_not_mixed(tmp_path: Path) -> None:
    shards, out = write_shards(tmp_path / "made"), tmp_path / "out"
    export_webdataset(shards, out, 5)
    with pytest.raises(ExportError, match="other pairs or settings"):
        export_webdataset(shards, out, 6)
    (out / export.SETTINGS).unlink()
    with pytest.raises(ExportError, match="tar files from elsewhere"):
        export_webdataset(shards, out, 5)


def test_an_unfinished_data_set_is_not_exported(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "made")
    (shards / "data" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(ExportError, match="1 of 2 shards"):
        export_webdataset(shards, tmp_path / "out")
    with pytest.raises(ExportError, match="holds no shard"):
        export_webdataset(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ExportError, match="shard_size=0"):
        export_webdataset(shards, tmp_path / "out", 0)


# ------------------------------------------------------------------ the Hub


class Hub:
    """Stands in for HfApi: notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, **how: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **how}))

    def upload_folder(self, **how: Any) -> None:
        self.calls.append(("upload_folder", how))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    shards = write_shards(tmp_path / "made")
    (shards / "README.md").write_text("# Pairs\n")
    (shards / "plan.parquet").write_bytes(b"names local folders")
    return shards


def test_a_data_set_is_uploaded_without_what_names_local_folders(made: Path) -> None:
    hub = Hub()
    address = upload(made, "me/pairs", api=hub)  # pyright: ignore[reportArgumentType]
    assert address == "https://huggingface.co/datasets/me/pairs"
    assert [name for name, _ in hub.calls] == ["create_repo", "upload_folder"]
    created, sent = (how for _, how in hub.calls)
    assert created == {"repo_id": "me/pairs", "repo_type": "dataset", "private": True, "exist_ok": True}
    assert (sent["repo_id"], sent["repo_type"], sent["folder_path"]) == ("me/pairs", "dataset", made)
    files = [file.relative_to(made).as_posix() for file in made.rglob("*") if file.is_file()]
    chosen = [f for f in files if any(fnmatch.fnmatch(f, pattern) for pattern in sent["allow_patterns"])]
    assert sorted(chosen) == [
        "README.md",
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ]


def test_the_stand_in_has_the_methods_of_the_real_one() -> None:
    import inspect

    parameters = inspect.signature(HfApi.upload_folder).parameters
    assert {"repo_id", "repo_type", "folder_path", "allow_patterns", "commit_message"} <= set(parameters)
    assert {"repo_type", "private", "exist_ok"} <= set(inspect.signature(HfApi.create_repo).parameters)


def test_without_a_login_the_next_step_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ExportError, match="run `hf auth login`"):
        upload(made, "me/pairs")


def test_without_a_network_it_says_so(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = HfApi(endpoint="http://127.0.0.1:9", token="hf_nothing")
    with pytest.raises(ExportError, match="the Hub cannot be reached"):  # HF_HUB_OFFLINE is set in tests
        upload(made, "me/pairs", api=nobody)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False, raising=False)
    with pytest.raises(ExportError, match="the Hub cannot be reached"):
        upload(made, "me/pairs", api=nobody)
    with pytest.raises(ExportError, match="write USER/NAME"):
        upload(made, "a/b/c", api=nobody)


def test_an_unfinished_data_set_is_not_uploaded(made: Path) -> None:
    (made / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(ExportError, match="1 of 2 shards"):
        upload(made, "me/pairs", api=Hub())  # pyright: ignore[reportArgumentType]


# ------------------------------------------------------------------ datasets


def test_what_the_factory_makes_opens_everywhere(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets to open shards with it")
    photos, made = tmp_path / "photos", tmp_path / "made"
    photos.mkdir()
    for k in range(3):
        draw_photo(k, (40, 32)).save(photos / f"{k}.png")
    settings = PlanSettings(str(photos), per_image=2, size=0, engine="simulator", photos_per_shard=2)
    list(run_plan(Plan(settings, make_plan(settings)), made, workers=0))

    data = datasets.load_dataset(str(made), cache_dir=str(tmp_path / "cache"), split="train")
    assert isinstance(data.features["degraded"], datasets.Image)
    pairs = pairs_in(made, rejected=True)
    assert len(data) == len(pairs) == 6
    for row, pair in zip(data, pairs, strict=True):
        clean = Image.open(photos / row["photo"])
        assert np.array_equal(np.asarray(row["target"]), np.asarray(clean))
        assert np.array_equal(np.asarray(row["target"]), pair["target"])
        assert np.array_equal(np.asarray(row["degraded"]), pair["degraded"])
        assert (row["item_id"], row["degradation"]) == (pair["name"], pair["degradation"])
        assert (row["mu_obtained"], row["sigma_obtained"]) == (pair["mu"], pair["sigma"])
        assert (pair["mu"], pair["sigma"]) == measure_uint8(pair["target"], pair["degraded"])
    assert len(export_webdataset(made, tmp_path / "tars", 4, rejected=True)) == 2
