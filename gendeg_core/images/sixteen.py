"""16-bit PNG and TIFF, decoded by OpenCV, which keeps every bit (metadata is Pillow's part)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gendeg_core.images.photo import ImageError

_BITS, _PHOTOMETRIC, _EXTRA, _FORMAT, _COUNTS, _TILE_COUNTS = 258, 262, 338, 339, 279, 325
_OFFSETS, _TILE_OFFSETS = 273, 324
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNSIGNED, _PREMULTIPLIED = 1, 1


def is_sixteen_bit(path: Path, image: Image.Image) -> bool:
    """Whether `image`, freshly opened from `path`, has 16 bits per channel.

    Raises:
        ImageError: a TIFF deeper than 8 bit that is not 16-bit unsigned grey or RGB.
    """
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] == 16  # the header chunk always comes first
    if image.format != "TIFF":
        return False
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    bits = set(tags.get(_BITS, (1,)))
    if max(bits) <= 8:
        return False
    unsigned = set(tags.get(_FORMAT, (_UNSIGNED,))) == {_UNSIGNED}
    known = tags.get(_PHOTOMETRIC) in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
    if bits != {16} or not unsigned or not known:
        kind = f"{'/'.join(str(b) for b in sorted(bits))}-bit samples"
        raise ImageError(f"{path} stores {kind} of a rare kind; save it as 8- or 16-bit RGB first")
    return True


def read_sixteen_bit(path: Path, image: Image.Image) -> np.ndarray:
    """uint16 (H, W, 3 or 4), RGB and alpha not multiplied in; a TIFF comes upright, a PNG as it is stored.

    Raises:
        ImageError: the file is cut short or damaged.
    """
    import cv2

    _check_complete(path, image)
    data = np.fromfile(path, np.uint8)
    try:
        samples = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        samples = None
    if samples is None or samples.dtype != np.uint16:
        raise ImageError(f"{path} is damaged: its 16-bit pixels cannot be decoded; get a fresh copy of it")
    if samples.ndim == 2:
        samples = samples[..., None].repeat(3, 2)
    samples = samples[..., [2, 1, 0, 3][: samples.shape[2]]]  # OpenCV's order is blue, green, red
    return _plain(samples, image) if image.format == "TIFF" else samples


def _plain(samples: np.ndarray, image: Image.Image) -> np.ndarray:
    """Undo the two ways in which a TIFF may store its numbers that OpenCV passes on as they are."""
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return 65535 - samples
    if samples.shape[2] == 4 and _PREMULTIPLIED in tags.get(_EXTRA, ()):
        alpha = samples[..., 3:]
        colours = samples[..., :3] / np.maximum(alpha, 1).astype(np.float32) * 65535
        return np.concatenate([np.clip(np.rint(colours), 0, 65535).astype(np.uint16), alpha], 2)
    return samples


def _check_complete(path: Path, image: Image.Image) -> None:
    """Refuse a file that ends early: OpenCV might fill the rest with black."""
    if image.format == "PNG":
        with Image.open(path) as fresh:
            fresh.verify()  # walks all chunks and their checksums without decoding
        return
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    offsets = tags.get(_OFFSETS) or tags.get(_TILE_OFFSETS) or ()
    counts = tags.get(_COUNTS) or tags.get(_TILE_COUNTS) or ()
    end = max((offset + count for offset, count in zip(offsets, counts, strict=False)), default=0)
    size = path.stat().st_size
    if not 0 < end <= size:
        raise ImageError(f"{path} is cut short ({size} bytes of {end}); get a fresh copy of it")
