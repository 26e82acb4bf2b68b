"""How mu and sigma enter the diffusion model: GenDeg's statistics and context projections.

GenDeg (arXiv 2411.17687), section 3.1: each number is a one-hot over 129 bins, `stats_proj` turns the two
one-hots into two extra columns of the text embedding, `cc_projection` brings it back to the text width.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from gendeg_core.statistics import BINS, MU_EDGES, NULL_BIN, SIGMA_EDGES, bin_index

LOWEST_CYCLES, HIGHEST_CYCLES = 0.25, 8.0  # of the smooth start, over the whole range of mu or sigma


class IntensityProjection(ModelMixin, ConfigMixin):
    """Text embedding and (mu, sigma) to the context of the UNet's cross attention.

    Args:
        text_dim: width of the text embedding, and of the context.
        tokens: length of the text embedding.
        bins: length of the one-hots, the null bin included.
        interpolate: share the weight between the two nearest bin centres, so that the context moves
            continuously with mu and sigma; False is the published hard one-hot.
    """

    @register_to_config
    def __init__(
        self, text_dim: int = 768, tokens: int = 77, bins: int = BINS + 1, interpolate: bool = False
    ) -> None:
        super().__init__()
        if bins != BINS + 1:
            raise ValueError(
                f"bins={bins} does not fit the published {BINS} bins and one null bin; use {BINS + 1}"
            )
        self.interpolate = interpolate
        self.stats_proj = nn.Linear(bins, tokens)
        self.cc_projection = nn.Linear(text_dim + 2, text_dim)
        # Published start: the text passes through untouched, the two intensity columns are PyTorch's default.
        with torch.no_grad():
            self.cc_projection.weight[:, :text_dim] = torch.eye(text_dim)
            self.cc_projection.bias.zero_()

    def forward(self, text: Tensor, stats: Tensor) -> Tensor:
        """Context (B, tokens, text_dim) of text (B, tokens, text_dim) and one-hots (B, 2, bins), mu first."""
        columns = self.stats_proj(stats).transpose(1, 2)  # (B, tokens, 2)
        return self.cc_projection(torch.cat([text, columns], dim=-1))

    def encode(self, mu: Iterable[float | None], sigma: Iterable[float | None]) -> Tensor:
        """One-hots (B, 2, bins) of B values of mu and of sigma; None and NaN select the null bin.

        Raises:
            ValueError: a value is negative, or the two differ in length.
        """
        rows = [_weights(mu, MU_EDGES, self.interpolate), _weights(sigma, SIGMA_EDGES, self.interpolate)]
        if len(rows[0]) != len(rows[1]):
            raise ValueError(
                f"got {len(rows[0])} values of mu but {len(rows[1])} of sigma; give one of each per image"
            )
        return torch.from_numpy(np.stack(rows, axis=1)).to(self.stats_proj.weight)

    @torch.no_grad()
    def smooth_init(self) -> None:
        """Let each token start as a smooth function of the value: two ramps, then sines and cosines.

        Neighbouring bins then mean nearly the same from the start, so that a small network learns mu and
        sigma from few samples. The null bin gives zero.
        """
        position = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS  # bin centre / range
        tokens = self.stats_proj.out_features
        waves = max((tokens - 1) // 2, 1)
        cycles = np.geomspace(LOWEST_CYCLES, HIGHEST_CYCLES, waves)
        # Nearly all photos lie in the lower half of the range: the second ramp is twice as steep there.
        functions = [2 * position - 1, 4 * position - 1]
        for number in cycles:
            angle = 2 * torch.pi * number * position
            functions += [angle.sin(), angle.cos()]
        weight = torch.zeros_like(self.stats_proj.weight)
        weight[:, :BINS] = torch.stack(functions[:tokens]).to(weight)
        self.stats_proj.weight.copy_(weight)
        self.stats_proj.bias.zero_()


def _weights(values: Iterable[float | None], edges: np.ndarray, interpolate: bool) -> np.ndarray:
    """(B, bins) float32 rows that sum to one; None and NaN put all weight on the null bin."""
    numbers = np.array([np.nan if value is None else float(value) for value in values], np.float64)
    given = ~np.isnan(numbers)
    weights = np.zeros((len(numbers), BINS + 1), np.float32)
    weights[~given, NULL_BIN] = 1
    rows, present = np.flatnonzero(given), numbers[given]
    index = bin_index(present, edges)  # also refuses negative values
    if not interpolate:
        weights[rows, index] = 1
        return weights
    # Position counted in bins, where 0 is the centre of the first.
    centre = np.clip(present / (edges[1] - edges[0]) - 0.5, 0, BINS - 1)
    lower = np.minimum(centre.astype(int), BINS - 2)
    upper_share = (centre - lower).astype(np.float32)
    weights[rows, lower] = 1 - upper_share
    weights[rows, lower + 1] = upper_share
    return weights
