"""Samples and metadata to the bytes of a PNG, JPEG, WebP or TIFF file.

PNG and TIFF are put together here because no library at hand writes 16 bit *and* metadata: OpenCV compresses
the PNG and our chunks go behind its header; the TIFF is deflated strips behind Pillow's tag directory.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from gendeg_core.images.photo import STORAGE_TAGS, ImageError
from gendeg_core.images.settings import PNG_KEY, to_line, with_settings

_EXIF_HEAD = b"Exif\0\0"
_QUALITY = 95  # of JPEG and WebP: fine rain streaks and flakes survive
_STRIP_BYTES = 1 << 18  # raw bytes per TIFF strip
_PNG_HEADER_END = 8 + 25  # signature and the IHDR chunk


def encode(
    path: Path, samples: np.ndarray, exif: bytes | None, icc: bytes | None, settings: dict[str, Any] | None
) -> bytes:
    """The file for `path`, format by its ending.

    Args:
        samples: uint8 or uint16 (H, W, 3 or 4), RGB and alpha; JPEG takes three bytes, WebP bytes.

    Raises:
        ImageError: the format cannot hold this size or this much metadata.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        return _png(path, samples, with_settings(exif, None), icc, settings)
    exif = with_settings(exif, settings)
    if suffix in (".tif", ".tiff"):
        return _tiff(samples, exif, icc)
    options: dict[str, Any] = {"quality": _QUALITY}
    if suffix == ".webp":
        options |= {"exact": True}  # keeps the colours under transparent pixels
    else:
        options |= {"subsampling": 0}
    return _by_pillow(path, samples, exif, icc, "WEBP" if suffix == ".webp" else "JPEG", options)


def _by_pillow(
    path: Path, samples: np.ndarray, exif: bytes | None, icc: bytes | None, name: str, options: dict[str, Any]
) -> bytes:
    buffer = io.BytesIO()
    try:
        Image.fromarray(samples).save(buffer, name, exif=exif or b"", icc_profile=icc, **options)
    except (OSError, ValueError) as error:  # sides above 16383 (WebP) or 65535, EXIF above 64 KB
        raise ImageError(f"{path} cannot be a {name} file ({error}); write .png or .tif") from error
    return buffer.getvalue()


def _png(
    path: Path, samples: np.ndarray, exif: bytes | None, icc: bytes | None, settings: dict[str, Any] | None
) -> bytes:
    import cv2

    done, buffer = cv2.imencode(".png", samples[..., [2, 1, 0, 3][: samples.shape[2]]])
    if not done:
        raise ImageError(f"{path} cannot be a PNG file of {samples.shape[1]} x {samples.shape[0]} pixels")
    data = buffer.tobytes()
    chunks = b""
    if icc:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    if exif:
        chunks += _png_chunk(b"eXIf", exif.removeprefix(_EXIF_HEAD))
    if settings is not None:
        chunks += _png_chunk(b"tEXt", PNG_KEY.encode() + b"\0" + to_line(settings).encode("ascii"))
    return data[:_PNG_HEADER_END] + chunks + data[_PNG_HEADER_END:]


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _tiff(samples: np.ndarray, exif: bytes | None, icc: bytes | None) -> bytes:
    """Little-endian baseline TIFF, deflated, with horizontal differences (deflate likes them)."""
    height, width, channels = samples.shape
    bits = samples.dtype.itemsize * 8
    rows = max(1, _STRIP_BYTES // (width * channels * samples.dtype.itemsize))
    strips = [_tiff_strip(samples[top : top + rows]) for top in range(0, height, rows)]
    lengths = [len(strip) for strip in strips]
    tag = ExifTags.Base
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    _put_exif(directory, exif)
    directory[tag.ImageWidth] = width
    directory[tag.ImageLength] = height
    directory[tag.BitsPerSample] = (bits,) * channels
    directory[tag.Compression] = 8
    directory[tag.PhotometricInterpretation] = 2
    # from the end of the directory; Pillow adds its length when it writes
    directory[tag.StripOffsets] = tuple(np.cumsum([0, *lengths[:-1]]).tolist())
    directory[tag.SamplesPerPixel] = channels
    directory[tag.RowsPerStrip] = rows
    directory[tag.StripByteCounts] = tuple(lengths)
    directory[tag.Predictor] = 2
    if channels == 4:
        directory[tag.ExtraSamples] = (2,)
    if icc:
        directory.tagtype[tag.InterColorProfile] = 7
        directory[tag.InterColorProfile] = icc
    buffer = io.BytesIO()
    directory.save(buffer)
    return b"".join([buffer.getvalue(), *strips])


def _tiff_strip(rows: np.ndarray) -> bytes:
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]  # wraps around, as the format wants
    return zlib.compress(differences.astype(differences.dtype.newbyteorder("<"), copy=False).tobytes(), 3)


def _put_exif(directory: TiffImagePlugin.ImageFileDirectory_v2, exif: bytes | None) -> None:
    """A TIFF has no EXIF block: its fields are tags of the file itself."""
    if not exif:
        return
    block = Image.Exif()
    block.load(exif)
    nested = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
    for tag, value in block.items():
        if tag not in STORAGE_TAGS and tag not in nested:
            directory[tag] = value
    for tag in nested:
        fields = dict(block.get_ifd(tag))
        if ExifTags.IFD.Interop in fields:
            fields[ExifTags.IFD.Interop] = dict(block.get_ifd(ExifTags.IFD.Interop))
        if fields:
            directory[tag] = fields
