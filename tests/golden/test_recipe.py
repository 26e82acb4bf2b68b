"""The weights that the golden outputs belong to are drawn right."""

from __future__ import annotations

import pytest
import torch

from tests import golden


@pytest.mark.parametrize("name", ["intensity", "structure", "ldm_unet", "ldm_vae", "daclip"])
def test_weights_match_their_fingerprints(name):
    state, stored = golden.official_state(name), golden.load(name)
    keys = sorted(state)
    first = torch.stack([state[key].flatten()[0] for key in keys])
    assert torch.equal(first, stored["check/first_value"])
    mean = torch.stack([state[key].abs().mean() for key in keys])
    torch.testing.assert_close(mean, stored["check/abs_mean"], rtol=1e-5, atol=1e-7)
