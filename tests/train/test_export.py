"""Exported weights: half precision, the chosen defaults, and no trace of the machine they came from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gendeg_core.generate.pipeline import GenDegPipeline
from tests.generate.tiny import shipped_kind
from train.export import ExportConfig, main


def test_an_exported_folder_opens_with_its_defaults_and_names_no_folder(tmp_path: Path) -> None:
    trained, shipped = tmp_path / "trained", tmp_path / "shipped"
    shipped_kind().save_pretrained(trained, safe_serialization=True)
    main(ExportConfig(trained, shipped, steps=5, guidance=1.5, detail_size=300))
    pipeline = GenDegPipeline.from_pretrained(shipped)
    assert pipeline.settings.num_inference_steps == 5
    assert pipeline.settings.guidance_scale == 1.5
    assert pipeline.settings.detail_size == 300
    for path in shipped.rglob("*.safetensors"):
        assert all(t.dtype == torch.float16 for t in load_file(path).values() if t.is_floating_point())
    for path in shipped.rglob("*.json"):
        assert str(tmp_path) not in path.read_text()


def test_other_weights_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "record.json").write_text("{}")
    with pytest.raises(ValueError, match="not empty"):
        main(ExportConfig(tmp_path / "trained", tmp_path / "shipped"))
