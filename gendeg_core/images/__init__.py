"""Photos in and out of files without loss: 8 and 16 bit, alpha, EXIF, colour profile, settings."""

from __future__ import annotations

from gendeg_core.images.photo import MAX_PIXELS, READABLE, WRITABLE, ImageError, Photo
from gendeg_core.images.read import read_photo, read_picture
from gendeg_core.images.settings import read_settings
from gendeg_core.images.write import write_photo

__all__ = [
    "MAX_PIXELS",
    "READABLE",
    "WRITABLE",
    "ImageError",
    "Photo",
    "read_photo",
    "read_picture",
    "read_settings",
    "write_photo",
]
