"""The settings a picture was made with, stored inside its file as one line of JSON.

PNG: text chunk "gendeg". JPEG, WebP, TIFF: a line "gendeg: {...}" at the end of the EXIF UserComment, below
whatever the photographer wrote there.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from gendeg_core.images.opening import opened

PNG_KEY = "gendeg"
_MARK = "gendeg: "
_ASCII, _UNICODE = b"ASCII\0\0\0", b"UNICODE\0"


def read_settings(path: str | Path) -> dict[str, Any] | None:
    """The settings stored in the image `path` by `write_photo`; None when it carries none.

    Raises:
        ImageError: `path` is not an image that can be read.
    """
    with opened(Path(path)) as image:
        text = image.info.get(PNG_KEY) if image.format == "PNG" else _comment_line(image.getexif())
    if not isinstance(text, str):
        return None
    try:
        settings = json.loads(text)
    except json.JSONDecodeError:  # somebody else's text under our name
        return None
    return settings if isinstance(settings, dict) else None


def to_line(settings: dict[str, Any]) -> str:
    """One line of ASCII JSON, the same for the same settings."""
    return json.dumps(settings, ensure_ascii=True, allow_nan=False, sort_keys=True)


def with_settings(exif: bytes | None, settings: dict[str, Any] | None) -> bytes | None:
    """The EXIF block with the line for `settings` in place of an earlier one; None takes the line away."""
    block = Image.Exif()
    if exif:
        block.load(exif)
    fields = block.get_ifd(ExifTags.IFD.Exif)
    before = _comment(block)
    lines = [line for line in before.split("\n") if not line.startswith(_MARK)]
    if settings is None and len(lines) == before.count("\n") + 1:
        return exif
    if settings is not None:
        lines = [*(lines if any(lines) else []), _MARK + to_line(settings)]
    comment = "\n".join(lines)
    if comment:
        fields[ExifTags.Base.UserComment] = _encode(comment)
    else:
        fields.pop(ExifTags.Base.UserComment, None)
    return block.tobytes()


def _comment_line(block: Image.Exif) -> str | None:
    for line in reversed(_comment(block).split("\n")):
        if line.startswith(_MARK):
            return line.removeprefix(_MARK)
    return None


def _comment(block: Image.Exif) -> str:
    raw = block.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    if isinstance(raw, str):
        return raw
    if raw.startswith(_UNICODE):
        return _decode_utf16(raw[8:]).rstrip("\0 ")
    # the first 8 bytes name the character set; most cameras fill the field with blanks or zeros
    return raw[8:].decode("latin-1").rstrip("\0 ")


def _encode(comment: str) -> bytes:
    if comment.isascii():
        return _ASCII + comment.encode("ascii")
    return _UNICODE + codecs.BOM_UTF16_LE + comment.encode("utf-16-le")


def _decode_utf16(raw: bytes) -> str:
    """The byte order is not in the standard: by its mark, else the one with more zero high bytes."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    little = raw[1::2].count(0) >= raw[::2].count(0)
    return raw.decode("utf-16-le" if little else "utf-16-be", "replace")
