"""Files for the tests, made by hand where no library writes them: rare PNGs, TIFFs and colour profiles."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

_SAMPLES_OF_PNG_KIND = {0: 1, 2: 3, 4: 2, 6: 4}


@functools.cache  # the time of making is part of it
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(samples: np.ndarray, kind: int, *, chunks: bytes = b"") -> bytes:
    """A 16-bit PNG of `samples` (H, W, C); kind 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""
    height, width, channels = samples.shape
    assert channels == _SAMPLES_OF_PNG_KIND[kind]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return (
        png_header(width, height, 16, kind)
        + chunks
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png_header(width: int, height: int, bits: int, kind: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(samples: np.ndarray, **changed: Any) -> bytes:
    """An uncompressed TIFF of `samples` (H, W, C); `changed` replaces tags, e.g. t262=0."""
    height, width, channels = samples.shape
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    tags: dict[int, Any] = {256: width, 257: height, 258: (samples.dtype.itemsize * 8,) * channels, 259: 1}
    tags |= {262: 2 if channels > 2 else 1, 273: 0, 277: channels, 278: height, 279: len(data)}
    if channels == 4:
        tags[338] = 2
    tags |= {int(name[1:]): value for name, value in changed.items()}
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    for tag, value in tags.items():
        directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    return buffer.getvalue() + data


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A minimal ICC version 2 profile for input from `space`, b"GRAY" or b"CMYK"."""
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"wtpt": white, b"desc": text, b"cprt": b"text\0\0\0\0none\0", **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"\0" * 4, 0x02100000, b"prtr", space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


def linear_grey_profile() -> bytes:
    """Grey values proportional to light."""
    return profile(b"GRAY", b"XYZ ", {b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0)})


def grey_cyan_profile() -> bytes:
    """CMYK on white paper whose cyan ink prints a middle grey (Lab 50, 0, 0) and everything else black."""
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    white, grey, black = (bytes([light, 128, 128]) for light in (255, 128, 0))
    inks = white + black * 7 + grey + black * 7  # cyan varies slowest
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity
    table += bytes(range(256)) * 4 + inks + bytes(range(256)) * 3
    return profile(b"CMYK", b"Lab ", {b"A2B0": table})


def exif(**fields: Any) -> Image.Exif:
    """An EXIF block as a camera writes it: maker, exposure, place, comment."""
    block = Image.Exif()
    block[0x010F] = "Camera maker"
    block[0x010E] = "a bridge"
    block.get_ifd(0x8769)[0x829A] = 0.004
    block.get_ifd(0x8769)[0x927C] = bytes(range(200))
    block.get_ifd(0x8825)[1] = "N"
    block.get_ifd(0x8825)[2] = (50.0, 10.0, 5.0)
    for name, value in fields.items():
        if name == "comment":
            block.get_ifd(0x8769)[0x9286] = value
        else:
            block[{"orientation": 0x0112}[name]] = value
    return block


def drawing(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth colours without symmetry, bytes (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    planes = [60 + 150 * x / width, 40 + 180 * y / height, 128 + 80 * np.sin(x / 9 + y / 13)]
    return np.stack(planes, 2).round().astype(np.uint8)


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
