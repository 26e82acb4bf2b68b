"""Writing: what goes in comes out, with all that belongs to the photo, or nothing is left behind."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gendeg_core.images import ImageError, Photo, read_photo, read_settings, write_photo
from tests.images.files import drawing, exif, srgb_profile

SETTINGS = {
    "degradation": "haze",
    "mu": 0.1 + 0.2,
    "seed": 2**63 - 1,
    "caption": 'a "bridge"\n☂',
    "steps": None,
}


def planes(samples: np.ndarray, top: int) -> torch.Tensor:
    return torch.from_numpy(samples.astype(np.float32) / np.float32(top)).permute(2, 0, 1)


def photo_of(size: tuple[int, int] = (40, 60), *, bits: int = 8, alpha: bool = False) -> Photo:
    height, width = size
    clear = torch.linspace(0, 1, height * width).reshape(1, height, width) if alpha else None
    return Photo(
        pixels=planes(drawing(height, width), 255),
        alpha=clear,
        bits=bits,
        exif=exif().tobytes(),
        icc=srgb_profile(),
    )


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    bits=st.sampled_from([8, 16]),
    alpha=st.booleans(),
    suffix=st.sampled_from([".png", ".tif", ".TIFF", ".PNG"]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_round_trip_is_exact(height: int, width: int, bits: int, alpha: bool, suffix: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    samples = rng.integers(0, top + 1, (height, width, 4))
    photo = replace(
        photo_of((height, width), bits=bits), alpha=planes(samples[..., 3:], top) if alpha else None
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_photo(path, planes(samples[..., :3], top), photo, settings={"seed": seed})
        again = read_photo(path)
        assert read_settings(path) == {"seed": seed}
        assert os.listdir(folder) == [path.name]
    assert again.bits == bits
    assert torch.equal(again.pixels, planes(samples[..., :3], top))
    assert (again.alpha is None) == (photo.alpha is None)
    if photo.alpha is not None and again.alpha is not None:
        assert torch.equal(again.alpha, photo.alpha)
    assert again.icc == photo.icc
    assert again.warnings == ()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_tall_files_have_more_than_one_strip(tmp_path: Path, suffix: str, bits: int) -> None:
    photo = photo_of((900, 700), bits=bits, alpha=True)
    write_photo(tmp_path / f"a{suffix}", photo.pixels, photo)
    again = read_photo(tmp_path / f"a{suffix}")
    assert (again.pixels - photo.pixels).abs().max() < 1e-4
    assert again.alpha is not None
    assert photo.alpha is not None
    assert (again.alpha - photo.alpha).abs().max() <= 0.501 / (2**bits - 1) + 1e-7


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_files_are_close_and_eight_bit(tmp_path: Path, suffix: str) -> None:
    photo = photo_of(bits=16)
    write_photo(tmp_path / f"a{suffix}", photo.pixels, photo)
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.bits == 8
    assert (again.pixels - photo.pixels).abs().mean() < 0.01


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_profile_and_settings_are_kept(tmp_path: Path, suffix: str) -> None:
    photo = photo_of()
    path = tmp_path / f"a{suffix}"
    write_photo(path, photo.pixels, photo, settings=SETTINGS)
    assert read_settings(path) == SETTINGS
    again = read_photo(path)
    assert again.icc == photo.icc
    block = Image.Exif()
    block.load(again.exif)
    assert block[0x010F] == "Camera maker"
    assert block[0x010E] == "a bridge"
    assert block.get_ifd(0x8769)[0x829A] == pytest.approx(0.004)
    assert block.get_ifd(0x8769)[0x927C] == bytes(range(200))
    assert block.get_ifd(0x8825)[2] == (50.0, 10.0, 5.0)


def test_webp_keeps_alpha(tmp_path: Path) -> None:
    photo = photo_of(alpha=True)
    write_photo(tmp_path / "a.webp", photo.pixels, photo)
    again = read_photo(tmp_path / "a.webp")
    assert again.alpha is not None
    assert photo.alpha is not None
    assert (again.alpha - photo.alpha).abs().max() <= 0.501 / 255


@pytest.mark.parametrize(
    "comment",
    [
        b"ASCII\0\0\0my own words",
        b"UNICODE\0" + "grün".encode("utf-16-le"),
        b"UNICODE\0" + "grün".encode("utf-16-be"),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_the_photographers_comment_survives_the_settings(tmp_path: Path, suffix: str, comment: bytes) -> None:
    photo = replace(photo_of(), exif=exif(comment=comment).tobytes())
    path = tmp_path / f"a{suffix}"
    write_photo(path, photo.pixels, photo, settings={"round": 1})
    once = read_photo(path)
    write_photo(path, once.pixels, once, settings={"round": 2})
    assert read_settings(path) == {"round": 2}
    assert once.exif is not None
    twice = read_photo(path)
    write_photo(path, twice.pixels, twice)
    assert read_settings(path) is None
    block = Image.Exif()
    block.load(read_photo(path).exif)
    text = block.get_ifd(0x8769)[0x9286]
    assert text[8:].decode("utf-16" if comment.startswith(b"U") else "ascii") in ("my own words", "grün")


def test_settings_of_the_source_do_not_leak_into_a_png(tmp_path: Path) -> None:
    photo = photo_of()
    write_photo(tmp_path / "a.jpg", photo.pixels, photo, settings={"round": 1})
    degraded_before = read_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.png", photo.pixels, degraded_before, settings={"round": 2})
    assert b'"round": 1' not in (tmp_path / "b.png").read_bytes()
    assert read_settings(tmp_path / "b.png") == {"round": 2}


def test_no_settings(tmp_path: Path) -> None:
    Image.fromarray(drawing()).save(tmp_path / "a.png")
    Image.fromarray(drawing()).save(tmp_path / "a.jpg", exif=exif(comment=b"ASCII\0\0\0gendeg: not JSON"))
    assert read_settings(tmp_path / "a.png") is None
    assert read_settings(tmp_path / "a.jpg") is None
    with pytest.raises(ImageError, match="does not exist"):
        read_settings(tmp_path / "b.png")


def test_without_a_source_it_is_plain_eight_bit(tmp_path: Path) -> None:
    write_photo(tmp_path / "new/folder/a.png", torch.full((3, 4, 5), 2.0))
    photo = read_photo(tmp_path / "new/folder/a.png")
    assert (photo.bits, photo.alpha, photo.exif, photo.icc) == (8, None, None, None)
    assert (photo.pixels == 1).all()


def test_jpeg_refuses_transparency_but_not_an_opaque_alpha(tmp_path: Path) -> None:
    photo = photo_of(alpha=True)
    with pytest.raises(ImageError, match="transparency; write .png"):
        write_photo(tmp_path / "a.jpg", photo.pixels, photo)
    assert not list(tmp_path.iterdir())
    write_photo(tmp_path / "a.jpg", photo.pixels, replace(photo, alpha=torch.ones(1, 40, 60)))
    assert read_photo(tmp_path / "a.jpg").alpha is None


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    pixels = torch.zeros(3, 4, 5)
    with pytest.raises(ImageError, match=r"'.gif' is none of .png"):
        write_photo(tmp_path / "a.gif", pixels)
    with pytest.raises(ImageError, match="NaN"):
        write_photo(tmp_path / "a.png", pixels * float("nan"))
    with pytest.raises(ImageError, match=r"must be \(3, height, width\)"):
        write_photo(tmp_path / "a.png", pixels[:1])
    with pytest.raises(ImageError, match="another size"):
        write_photo(tmp_path / "a.png", pixels, photo_of(alpha=True))
    with pytest.raises(ImageError, match="cannot be a WEBP"):
        write_photo(tmp_path / "a.webp", torch.zeros(3, 1, 20_000))
    huge = exif(comment=b"ASCII\0\0\0" + b"x" * 70_000).tobytes()
    with pytest.raises(ImageError, match="cannot be a JPEG"):
        write_photo(tmp_path / "a.jpg", pixels, Photo(pixels, exif=huge))
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="was not written"):
        write_photo(tmp_path / "file" / "a.png", pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, previous)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_refused_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    photo = photo_of()
    write_photo(path, photo.pixels, photo)
    before = path.read_bytes()
    with files_no_larger_than(100), pytest.raises(ImageError, match="was not written"):
        write_photo(path, 1 - photo.pixels, photo)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ImageError, match="the disk is full: .*a.png was not written; free some space"):
        write_photo(tmp_path / "a.png", torch.zeros(3, 4, 5))
    assert not list(tmp_path.iterdir())


def test_memory_of_a_large_photo(tmp_path: Path) -> None:
    """Reading and writing needs at most five float copies of the photo on top of the libraries."""
    Image.fromarray(np.tile(drawing(150, 200), (10, 10, 1))).save(tmp_path / "a.jpg")
    script = """
import resource, sys, torch, cv2
from gendeg_core.images import read_photo, write_photo
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
photo = read_photo(sys.argv[1])
for output in sys.argv[2:]:
    write_photo(output, photo.pixels, photo)
print((peak() - before) / (photo.pixels.numel() * 4))
"""
    outputs = [str(tmp_path / name) for name in ("b.png", "b.jpg")]
    command = [sys.executable, "-c", script, str(tmp_path / "a.jpg"), *outputs]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5
