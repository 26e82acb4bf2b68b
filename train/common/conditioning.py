"""Classifier-free dropout as published for GenDeg (after InstructPix2Pix)."""

from __future__ import annotations

from torch import Tensor


def dropout_masks(uniform: Tensor, u: float) -> tuple[Tensor, Tensor]:
    """Which samples keep their text and intensity, and which keep the clean photo.

    One uniform number r per sample: text and intensity (always together) are dropped for r < 2u, the photo
    for u <= r < 3u.

    Args:
        uniform: (B,) in [0, 1).
        u: 0.05 in the paper.
    Returns:
        keep_text, keep_image: (B,) booleans.
    """
    keep_text = uniform >= 2 * u
    keep_image = (uniform < u) | (uniform >= 3 * u)
    return keep_text, keep_image
