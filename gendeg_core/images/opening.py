"""The door: is this path an image of a size and kind we take? The header answers, before any decoding."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from gendeg_core.images.photo import MAX_PIXELS, ImageError

# Raster formats only: Pillow would hand EPS to an interpreter and cut 16-bit PPM and JPEG 2000 to 8 bit.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
_KNOWN = "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF"
# What the decoders of all these formats raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, ArithmeticError)
_DAMAGE += (RuntimeError, struct.error, zlib.error)
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The Pillow image of `path`, header read, pixels not yet; damage met later is told the same way.

    Raises:
        ImageError: missing, a folder, empty, no image, damaged, or more than 200 megapixels.
    """
    _check_file(path)
    try:
        with _header(path) as image:
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} has more than {MAX_PIXELS // 10**6} megapixels; scale it down or cut it first"
        ) from None
    except UnidentifiedImageError:
        raise ImageError(_unidentified(path)) from None
    except _DAMAGE as error:
        raise ImageError(f"{path} is damaged or cut short ({error}); get a fresh copy of it") from error


def check_decodes(path: Path) -> None:
    """ImageError unless the whole of `path` can be decoded."""
    with opened(path) as image:
        image.load()


def _header(path: Path) -> Image.Image:
    # Pillow refuses at twice this number, before decoding; below it would only warn.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    Image.init()
    return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ImageError(f"{path} is a folder; name an image file")
    if not path.exists():
        raise ImageError(f"{path} does not exist; check the spelling")
    if not path.is_file():
        raise ImageError(f"{path} is not a regular file; name an image file")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); get a fresh copy of it")


def _unidentified(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        return f"{path} cannot be opened: {error.strerror}"
    for signature, name in _SIGNATURES.items():
        if start.startswith(signature):
            return f"{path} starts like a {name} but is damaged, cut short or of a rare kind; save it anew"
    return f"{path} is not an image this program reads; it reads {_KNOWN}"
