"""Write a photo with the depth, alpha, EXIF and colour profile of the one it was made from; all or nothing.

The bytes are made in memory, go to a hidden name beside the target and take its place in one step, so that a
full disk or a kill never leaves half a picture under the final name.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gendeg_core.images.encode import encode
from gendeg_core.images.photo import WRITABLE, ImageError, Photo

if TYPE_CHECKING:
    from torch import Tensor

_OPAQUE_ONLY = (".jpg", ".jpeg")
_EIGHT_BIT_ONLY = (".jpg", ".jpeg", ".webp")


def write_photo(
    path: str | Path, pixels: Tensor, like: Photo | None = None, *, settings: dict[str, Any] | None = None
) -> None:
    """Write `pixels` to `path`, PNG, JPEG, WebP or TIFF by its ending; missing folders are made.

    Args:
        pixels: float (3, H, W) in [0, 1]; values outside are clipped.
        like: the photo whose alpha, bit depth, EXIF and profile are kept; None writes 8-bit sRGB.
        settings: plain values for JSON, stored in the file; `read_settings` gives them back.

    Raises:
        ImageError: unknown ending, transparency into a JPEG, NaN pixels, no space or no permission.
    """
    path = Path(path)
    suffix = check_writable(path)
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ImageError(f"pixels for {path} have shape {tuple(pixels.shape)}; it must be (3, height, width)")
    alpha = _fitting_alpha(path, pixels, like, suffix)
    bits = 8 if like is None or suffix in _EIGHT_BIT_ONLY else like.bits
    planes = [plane.detach().cpu().numpy() for plane in (*pixels, *([] if alpha is None else alpha))]
    samples = _to_samples(path, planes, bits)
    exif, icc = (like.exif, like.icc) if like else (None, None)
    write_atomically(path, encode(path, samples, exif, icc, settings))


def check_writable(path: Path) -> str:
    """The ending of `path` in small letters.

    Raises:
        ImageError: no format that keeps everything goes by this ending.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ImageError(f"cannot write {path}: the ending {suffix!r} is none of {', '.join(WRITABLE)}")
    return suffix


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` under `path` in one step.

    The hidden name depends on the target only, so that a run that was killed leaves nothing behind once it
    has been repeated.

    Raises:
        ImageError: the file system refuses.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImageError(
                f"the disk is full: {path} was not written; free some space and repeat"
            ) from error
        raise ImageError(f"{path} was not written: {error.strerror or error}") from error


def _fitting_alpha(path: Path, pixels: Tensor, like: Photo | None, suffix: str) -> Tensor | None:
    alpha = like.alpha if like else None
    if alpha is None:
        return None
    if alpha.shape[1:] != pixels.shape[1:]:
        sizes = f"{tuple(alpha.shape[1:])} against {tuple(pixels.shape[1:])}"
        raise ImageError(f"the transparency kept for {path} has another size than its pixels: {sizes}")
    if suffix in _OPAQUE_ONLY:
        if bool((alpha < 1).any()):
            raise ImageError(
                f"{path} is a JPEG and cannot hold the photo's transparency; write .png, .webp or .tif"
            )
        return None
    return alpha


def _to_samples(path: Path, planes: list[np.ndarray], bits: int) -> np.ndarray:
    """Float planes (H, W) to integers (H, W, C), rounded to nearest, one channel at a time."""
    kind = np.uint16 if bits == 16 else np.uint8
    top = np.iinfo(kind).max
    samples = np.empty((*planes[0].shape, len(planes)), kind)
    for index, plane in enumerate(planes):
        scaled = np.clip(plane, 0, 1).astype(np.float32, copy=False) * np.float32(top)
        if not np.isfinite(scaled).all():
            raise ImageError(f"the pixels for {path} are not all numbers (NaN); nothing was written")
        samples[..., index] = np.rint(scaled, out=scaled)
    return samples
