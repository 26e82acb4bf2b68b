"""Both engines behind one contract."""

from __future__ import annotations

import pytest
import torch

from gendeg_core.statistics import measure
from gendeg_core.synthesize import GenDegEngine, Sampling, SimulatorEngine, degrade, load_engine
from gendeg_core.types import Degradation, DegradationRequest, DegradationResult, Progress
from tests.generate.tiny import shipped_kind

CLEAN = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))


def engines():
    return [SimulatorEngine(), GenDegEngine(shipped_kind(), "tiny@0")]


@pytest.mark.parametrize("engine", engines(), ids=lambda e: e.name)
def test_an_engine_yields_progress_and_its_result_last(engine):
    request = DegradationRequest(Degradation.SNOW, 0.1, 0.1, 3)
    *signs, result = engine.run(CLEAN, request)
    assert signs
    assert all(isinstance(sign, Progress) for sign in signs)
    assert isinstance(result, DegradationResult)
    assert result.request == request
    assert (result.mu_obtained, result.sigma_obtained) == measure(CLEAN, result.degraded)
    assert torch.equal(degrade(CLEAN, request, engine).degraded, result.degraded)


def test_sampling_reaches_the_pipeline():
    pipeline = shipped_kind()
    engine = GenDegEngine(pipeline, "tiny@0")
    request = DegradationRequest(Degradation.SNOW, 0.1, 0.1, 3)
    signs = list(engine.run(CLEAN, request, Sampling(steps=7)))
    assert signs[0].total == 8
    guided = degrade(CLEAN, request, engine, Sampling(steps=3, guidance=7.5, image_guidance=1.5))
    assert (guided.degraded - degrade(CLEAN, request, engine).degraded).abs().max() > 1e-3


@pytest.mark.parametrize("values", [{"steps": 0}, {"steps": 1001}, {"guidance": -1}, {"image_guidance": 99}])
def test_sampling_out_of_range_names_the_value(values):
    name, value = next(iter(values.items()))
    with pytest.raises(ValueError, match=f"{name}={value} is outside"):
        Sampling(**values)


def test_unknown_engines_and_misplaced_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="choose one of gendeg, simulator"):
        load_engine("magic")
    with pytest.raises(ValueError, match="takes no weights"):
        load_engine("simulator", tmp_path)
    with pytest.raises(OSError, match=r"model_index\.json is missing"):
        load_engine("gendeg", tmp_path)
