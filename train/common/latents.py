"""VAE latents of a pool of pairs, computed once and kept beside it.

Exact, because the VAE is frozen and the only augmentation is a flip: both flips are encoded, and of the
degraded image the moments are kept, so that each visit still draws its own sample of the posterior.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from train.common.pairs import Pair, PairSource
from train.common.pool import PairPool, derived

ENCODED_TOGETHER = 8


def encode_pairs(vae: Any, batch: Any, device: torch.device) -> tuple[Tensor, Any]:
    """Mode of the clean image's latent (B, C, h, w) and posterior of the degraded one's, cached or not."""
    if "latents" in batch:
        latents = batch["latents"].to(device)
        channels = latents.shape[1] // 3
        return latents[:, :channels], DiagonalGaussianDistribution(latents[:, channels:])
    clean, degraded = (batch[name].to(device).float() / 127.5 - 1 for name in ("clean", "degraded"))
    return vae.encode(clean).latent_dist.mode(), vae.encode(degraded).latent_dist


class LatentPool(PairSource):
    """The pairs of `pool`, each with `latents` (3C, h, w): clean mode, mean and log variance of the degraded.

    They lie in a folder named after the VAE's weights.
    """

    def __init__(self, pool: PairPool, vae: Any, folder: Path, accelerator: Accelerator) -> None:
        self.pool = pool
        encode = functools.partial(_encode_chunk, vae, device=accelerator.device)
        self.chunks = derived(
            pool, folder / f"latents-{_weights_digest(vae)}", encode, accelerator, "latents"
        )

    def pair(self, seed: int, k: int) -> Pair:
        chunk, place, flipped = self.pool.place(seed, k)
        pair = self.pool.pair(seed, k)
        pair["latents"] = torch.from_numpy(self.chunks[chunk][place, int(flipped)].copy())
        return pair


@torch.no_grad()
def _encode_chunk(vae: Any, chunk: np.ndarray, _first: int, *, device: torch.device) -> np.ndarray:
    """(N, 2 flips, 3C, h, w) float32 of (N, 2, 3, S, S) bytes."""
    parts = []
    for k in range(0, len(chunk), ENCODED_TOGETHER):
        images = torch.from_numpy(chunk[k : k + ENCODED_TOGETHER].copy())
        both = []
        for view in (images, images.flip(-1)):
            mode, posterior = encode_pairs(vae, {"clean": view[:, 0], "degraded": view[:, 1]}, device)
            both.append(torch.cat([mode, posterior.parameters], 1).float().cpu())
        parts.append(torch.stack(both, 1).numpy())
    return np.concatenate(parts)


def _weights_digest(vae: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
