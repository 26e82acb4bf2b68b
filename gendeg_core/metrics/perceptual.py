"""Measures made to agree with people: HaarPSI and FSIM (piq), LPIPS (lpips, AlexNet).

All take RGB in [0, 1]; LPIPS is given [-1, 1] here and nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# features.N of torchvision's AlexNet: the convolutions, and the slice of the lpips trunk that holds them
_SLICES = {0: 1, 3: 2, 6: 3, 8: 4, 10: 5}


def haarpsi(restored: Tensor, clean: Tensor) -> float:
    """Haar wavelet similarity (Reisenhofer et al. 2018) of (3, H, W) in [0, 1]; 1 for identical images."""
    from piq import haarpsi as measure

    return float(measure(restored[None].float(), clean[None].float(), data_range=1.0))


def fsim(restored: Tensor, clean: Tensor) -> float:
    """Feature similarity with colour, FSIMc (Zhang et al. 2011), of (3, H, W) in [0, 1]; 1 for identical."""
    from piq import fsim as measure

    return float(measure(restored[None].float(), clean[None].float(), data_range=1.0))


def load_lpips(trunk: Path, device: str = "cpu") -> Callable[[Tensor, Tensor], float]:
    """LPIPS version 0.1 (Zhang et al. 2018) on the AlexNet in `trunk`: a function of two (3, H, W) in [0, 1].

    Args:
        trunk: torchvision's AlexNet weights, as a state dict; its classifier is not needed.

    Raises:
        ValueError: the file holds something else.
    """
    import lpips

    # building the trunk draws random weights, which must not disturb anybody's random numbers
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision in its older way
        network = lpips.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    _fill(network.net, trunk)
    network = network.to(device).eval().requires_grad_(False)

    def measure(restored: Tensor, clean: Tensor) -> float:
        first, second = (2 * image[None].float().to(device) - 1 for image in (restored, clean))
        return float(network(first, second))

    return measure


def _fill(network: torch.nn.Module, trunk: Path) -> None:
    """Put the convolutions of torchvision's AlexNet into the trunk of lpips."""
    stored = read_state(trunk)
    kinds = ("weight", "bias")
    wanted = {f"slice{k}.{n}.{kind}": f"features.{n}.{kind}" for n, k in _SLICES.items() for kind in kinds}
    own = network.state_dict()
    unlike = [b for a, b in wanted.items() if b not in stored or stored[b].shape != own[a].shape]
    if unlike:
        raise ValueError(f"{trunk} is no AlexNet of torchvision: {unlike[0]} is missing or of another shape")
    network.load_state_dict({here: stored[there] for here, there in wanted.items()})


def read_state(path: Path) -> dict[str, Any]:
    """A state dict from a file that need not be trusted.

    Raises:
        ValueError: it is none, or holds more than tensors.
    """
    import pickle

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no file of weights ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds {type(state).__name__} instead of named weights")
    return state
