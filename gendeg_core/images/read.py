"""Read a photo: pixels, alpha, bit depth, EXIF and colour profile, turned upright.

Pillow reads 8-bit pixels and all metadata; OpenCV reads 16-bit PNG and TIFF, which Pillow would silently cut
to 8 bit. CMYK photos become sRGB (through their profile if they have one), grey ones three equal channels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageCms

from gendeg_core.images.opening import opened
from gendeg_core.images.photo import STORAGE_TAGS, ImageError, Photo
from gendeg_core.images.sixteen import is_sixteen_bit, read_sixteen_bit

if TYPE_CHECKING:
    from torch import Tensor


def read_photo(path: str | Path) -> Photo:
    """The photo in the file `path`.

    Raises:
        ImageError: it cannot be read; the message says why and what to do.
    """
    file = _decoded(Path(path))
    return Photo(
        pixels=_to_planes(file.samples[..., :3]),
        alpha=_to_planes(file.samples[..., 3:]) if file.samples.shape[2] == 4 else None,
        bits=8 * file.samples.itemsize,
        exif=file.exif,
        icc=file.icc,
        format=file.format,
        warnings=file.warnings,
    )


def read_picture(path: str | Path) -> tuple[Image.Image, tuple[str, ...]]:
    """The photo in the file `path` as 8-bit RGB, a quarter of `read_photo`'s memory, and its warnings.

    Raises:
        ImageError: see `read_photo`.
    """
    file = _decoded(Path(path))
    samples = file.samples[..., :3]
    if samples.itemsize == 2:
        samples = np.stack([_to_bytes(samples[..., index]) for index in range(3)], axis=-1)
    return Image.fromarray(samples), file.warnings


@dataclass(frozen=True)
class _Decoded:
    """What `Photo` holds, with samples (H, W, 3 or 4) as stored, uint8 or uint16, upright."""

    samples: np.ndarray
    exif: bytes | None
    icc: bytes | None
    format: str
    warnings: tuple[str, ...]


def _decoded(path: Path) -> _Decoded:
    notes: list[str] = []
    with opened(path) as image:
        name = image.format or ""
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and name != "MPO":  # the further pictures of an MPO are previews and depth
            notes.append(f"{path} holds {frames} pictures; only the first is used")
        icc = image.info.get("icc_profile")
        if is_sixteen_bit(path, image):
            samples = read_sixteen_bit(path, image)
            icc = _checked_profile(icc, path, notes)
        else:
            samples, icc = _eight_bit(image, icc, path, notes)
        orientation = _pending_orientation(image)
        exif = _exif(image, path, notes)
    return _Decoded(_upright(samples, orientation), exif, icc, name, tuple(notes))


def _eight_bit(
    image: Image.Image, icc: bytes | None, path: Path, notes: list[str]
) -> tuple[np.ndarray, bytes | None]:
    """Bytes (H, W, 3 or 4) and the profile they are in."""
    image.load()
    if image.mode in ("I", "F", "LAB", "HSV") or image.mode.startswith("I;"):
        raise ImageError(
            f"{path} stores pixels of a rare kind ({image.mode}); save it as 8- or 16-bit RGB first"
        )
    space = icc[16:20] if icc else b""
    if icc and (image.mode == "CMYK" or (space == b"GRAY" and image.mode in ("1", "L", "LA"))):
        converted = _to_srgb(image, icc, path, notes)
        return converted, None
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image), _checked_profile(icc, path, notes)


def _to_srgb(image: Image.Image, icc: bytes, path: Path, notes: list[str]) -> np.ndarray:
    """Through the embedded CMYK or grey profile to sRGB bytes (H, W, 3 or 4)."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    inks = image if image.mode == "CMYK" else image.convert("L")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        rgb = ImageCms.profileToProfile(inks, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        assert rgb is not None, "only an in-place conversion returns nothing"
    except (ImageCms.PyCMSError, OSError) as error:
        notes.append(f"{path} has a colour profile that cannot be used ({error}); colours may be off")
        rgb = inks.convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    return np.asarray(rgb)


def _checked_profile(icc: bytes | None, path: Path, notes: list[str]) -> bytes | None:
    """An RGB profile as it is; any other would make the RGB file that is written later invalid."""
    if not icc:
        return None
    if len(icc) >= 128 and icc[16:20] == b"RGB ":
        return icc
    notes.append(f"{path} has a colour profile that is not for RGB pixels; it is left out and sRGB assumed")
    return None


def _exif(image: Image.Image, path: Path, notes: list[str]) -> bytes | None:
    """The EXIF block for an upright picture.

    Rewriting it drops the embedded preview, which would go on showing the photo as it was.
    """
    try:
        exif = image.getexif()
        for tag in STORAGE_TAGS & set(exif):
            del exif[tag]
        if ExifTags.Base.Orientation in exif:
            exif[ExifTags.Base.Orientation] = 1
        return exif.tobytes() if len(exif) else None
    except Exception as error:  # damaged blocks make the parser raise whatever it meets
        notes.append(f"{path} has a damaged EXIF block ({error}); it is left out")
        return None


def _pending_orientation(image: Image.Image) -> int:
    """EXIF orientation still to be applied; both decoders have turned a TIFF already, Pillow an AVIF too."""
    if image.format in ("TIFF", "AVIF"):
        return 1
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, C) turned as the EXIF orientation 1 to 8 says; other values mean nothing and turn nothing."""
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def _to_bytes(channel: np.ndarray) -> np.ndarray:
    """uint16 (H, W) to the nearest of 256 levels; 65535 = 255 * 257."""
    return ((channel.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_planes(samples: np.ndarray) -> Tensor:
    """uint8 or uint16 (H, W, C) to float32 (C, H, W) in [0, 1], one channel at a time to spare memory."""
    import torch

    top = np.float32(np.iinfo(samples.dtype).max)
    planes = np.empty((samples.shape[2], *samples.shape[:2]), np.float32)
    for index in range(len(planes)):
        np.divide(samples[..., index], top, out=planes[index])
    return torch.from_numpy(planes)
