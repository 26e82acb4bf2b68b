"""Shipped weights are what their records say, and small."""

from __future__ import annotations

import json

import pytest

from gendeg_core.weights import LIMIT_MB, faults, main, read_record, shipped, write_record

FACTS = {"recipe": ["x"], "data": "d", "hardware": "h", "samples": 1, "quality": {}, "weak": "everywhere"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"abc")
    write_record(tmp_path, FACTS)
    return tmp_path


def test_a_record_holds_the_digest_of_every_file(folder):
    # SHA-256 of "abc", the first test vector of FIPS 180-2
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert read_record(folder).sha256 == {"unet/model.safetensors": digest}
    assert faults(folder) == []


def test_changed_added_and_missing_files_are_named(folder):
    (folder / "unet" / "model.safetensors").write_bytes(b"abd")
    (folder / "extra.safetensors").write_bytes(b"")
    assert len(faults(folder)) == 2
    assert "extra.safetensors" in faults(folder)[0]
    (folder / "unet" / "model.safetensors").unlink()
    assert any("unet/model.safetensors" in sentence for sentence in faults(folder))


def test_a_folder_without_record_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"has no record\.json"):
        read_record(tmp_path)


def test_the_record_command_writes_a_record(tmp_path):
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(FACTS))
    (tmp_path / "w").mkdir()
    assert main(["record", str(tmp_path / "w"), str(facts)]) == 0
    assert read_record(tmp_path / "w").weak == "everywhere"
    assert main(["nonsense"]) == 2


def test_shipped_weights_are_as_recorded_and_below_the_limit():
    assert shipped(), "no weights are shipped"
    for folder in shipped():
        record = read_record(folder)
        assert faults(folder) == []
        assert record.recipe
        assert record.weak
        assert record.quality
    total = sum(path.stat().st_size for f in shipped() for path in f.rglob("*.safetensors"))
    assert total < LIMIT_MB * 1e6
