"""What a photo is inside the core, and the one error its files can raise.

Pixels are numbers in the photo's own colour profile: nothing is converted to sRGB on the way in (CMYK and
grey profiles excepted, see `read`), and the same profile is attached again on the way out. A degradation thus
works on the values an editor would show, and colours never shift between the photo and its degraded self.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 200_000_000  # the largest phone sensors stay just below
READABLE = (".png", ".jpg", ".jpeg", ".jfif", ".mpo", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
# TIFF tags that describe how samples are stored in one file; they mean nothing in the next one.
STORAGE_TAGS = frozenset(
    [*range(254, 260), 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 317, 320]
    + [
        322,
        323,
        324,
        325,
        330,
        332,
        338,
        339,
        340,
        341,
        347,
        *range(512, 522),
        529,
        530,
        531,
        532,
        700,
        34675,
    ]
)


class ImageError(ValueError):
    """A photo cannot be read or written; the message is one sentence for the person who asked."""


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo, upright.

    Args:
        pixels: float32 (3, H, W) in [0, 1], in the photo's own colour profile.
        alpha: float32 (1, H, W) in [0, 1], not multiplied into the pixels; None for an opaque photo.
        bits: bits per channel of the file, 8 or 16.
        exif: EXIF block starting with b"Exif\\0\\0", orientation set to upright, without preview picture.
        icc: RGB colour profile; None means sRGB.
        format: Pillow's name of the file format, e.g. "JPEG".
        warnings: sentences on what of the file could not be kept.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    exif: bytes | None = None
    icc: bytes | None = None
    format: str = "PNG"
    warnings: tuple[str, ...] = ()
