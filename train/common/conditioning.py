"""What the generator is told about a batch of pairs, and the classifier-free dropout published for GenDeg."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gendeg_core.types import Degradation, prompt


def dropout_masks(uniform: Tensor, u: float) -> tuple[Tensor, Tensor]:
    """Which samples keep their text and intensity, and which keep the clean photo (after InstructPix2Pix).

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


def describe(
    batch: Any, keep_text: Tensor, keep_caption: Tensor
) -> tuple[list[str], list[float | None], list[float | None]]:
    """Prompt, mu and sigma of each pair: empty text and None where they are dropped.

    Args:
        keep_text, keep_caption: (B,) booleans; a dropped caption leaves the degradation phrase.
    """
    kinds = list(Degradation)
    prompts, mus, sigmas = [], [], []
    for k, kept in enumerate(keep_text.tolist()):
        caption = batch["caption"][k] if keep_caption[k] else ""
        prompts.append(prompt(caption, kinds[batch["degradation"][k]]) if kept else "")
        mus.append(float(batch["mu"][k]) if kept else None)
        sigmas.append(float(batch["sigma"][k]) if kept else None)
    return prompts, mus, sigmas
