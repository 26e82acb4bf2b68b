"""A visitor's photo: small copies, and errors that name the file and not the server's folders."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.session import Session, open_photo
from gendeg_core.images import ImageError
from gendeg_core.statistics import to_uint8
from tests.app.fakes import scene, write_scene


def test_copies_keep_the_aspect_ratio_and_the_asked_short_side(tmp_path: Path) -> None:
    photo = open_photo(write_scene(tmp_path / "a.png", 900, 600))
    assert photo.size == (900, 600)
    assert photo.copies[256].shape == (3, 256, 384)
    assert photo.copies[512].shape == (3, 512, 768)


def test_a_small_photo_is_copied_pixel_by_pixel(tmp_path: Path) -> None:
    photo = open_photo(write_scene(tmp_path / "a.png"))
    np.testing.assert_array_equal(to_uint8(photo.copies[256]), scene())


def test_no_float_copy_of_the_whole_photo_is_made(tmp_path: Path) -> None:
    Image.new("RGB", (2000, 1500), (9, 99, 199)).save(tmp_path / "a.jpg")
    open_photo(tmp_path / "a.jpg")  # what is imported on the way counts for nothing
    tracemalloc.start()
    open_photo(tmp_path / "a.jpg")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2000 * 1500  # three bytes a pixel, and once more on the way; a float copy has twelve


@pytest.mark.parametrize(("size", "expected"), [((1, 1), (3, 1, 1)), ((5000, 300), (3, 61, 1024))])
def test_extreme_shapes_stay_bounded(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    Image.new("RGB", size, (9, 99, 199)).save(tmp_path / "a.png")
    assert open_photo(tmp_path / "a.png").copies[256].shape == expected


def test_a_refused_file_is_named_without_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"not a picture at all")
    with pytest.raises(ImageError, match="holiday.jpg") as caught:
        open_photo(path)
    assert str(tmp_path) not in str(caught.value)


def test_only_the_last_ticket_is_the_latest() -> None:
    session = Session()
    first, second = session.take_ticket(), session.take_ticket()
    assert first != second
    assert session.ticket == second
