"""Reading: every kind of file gives the pixels, depth, alpha and metadata that are in it."""

from __future__ import annotations

import io
import tempfile
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gendeg_core.images import ImageError, Photo, read_photo, read_picture, read_settings, write_photo
from gendeg_core.images.opening import opened
from gendeg_core.statistics import to_uint8
from tests.images.files import (
    chunk,
    drawing,
    exif,
    grey_cyan_profile,
    linear_grey_profile,
    png,
    png_header,
    save,
    srgb_profile,
    tiff,
)

RNG = np.random.default_rng(0)


def numbers(photo: Photo) -> np.ndarray:
    """The integers (H, W, 3 or 4) that were in the file."""
    top = 65535 if photo.bits == 16 else 255
    planes = [*photo.pixels.numpy(), *(photo.alpha.numpy() if photo.alpha is not None else [])]
    return np.rint(np.stack(planes, 2) * top).astype(int)


def random(channels: int, bits: int = 16) -> np.ndarray:
    return RNG.integers(0, 2**bits, (5, 7, channels)).astype(np.uint16 if bits == 16 else np.uint8)


@pytest.mark.parametrize(
    ("suffix", "channels"),
    [(".png", 3), (".png", 4), (".tif", 3), (".tif", 4), (".webp", 3), (".webp", 4), (".bmp", 3)],
)
def test_eight_bit_pixels_are_exact(tmp_path: Path, suffix: str, channels: int) -> None:
    samples = random(channels, 8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(samples).save(path, lossless=True, exact=True)
    photo = read_photo(path)
    assert photo.bits == 8
    assert (numbers(photo) == samples).all()
    assert photo.pixels.dtype.is_floating_point


@pytest.mark.parametrize(("kind", "channels", "order"), [(0, 1, [0, 0, 0]), (2, 3, [0, 1, 2])])
def test_sixteen_bit_png(tmp_path: Path, kind: int, channels: int, order: list[int]) -> None:
    samples = random(channels)
    photo = read_photo(save(tmp_path / "a.png", png(samples, kind)))
    assert photo.bits == 16
    assert photo.alpha is None
    assert (numbers(photo) == samples[..., order]).all()


@pytest.mark.parametrize(("kind", "channels", "order"), [(4, 2, [0, 0, 0, 1]), (6, 4, [0, 1, 2, 3])])
def test_sixteen_bit_png_with_alpha(tmp_path: Path, kind: int, channels: int, order: list[int]) -> None:
    samples = random(channels)
    photo = read_photo(save(tmp_path / "a.png", png(samples, kind)))
    assert photo.bits == 16
    assert (numbers(photo) == samples[..., order]).all()


@pytest.mark.parametrize(("channels", "order"), [(1, [0, 0, 0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3])])
def test_sixteen_bit_tiff(tmp_path: Path, channels: int, order: list[int]) -> None:
    samples = random(channels)
    photo = read_photo(save(tmp_path / "a.tif", tiff(samples)))
    assert photo.bits == 16
    assert (numbers(photo) == samples[..., order]).all()


def test_sixteen_bit_tiff_that_counts_down_to_white(tmp_path: Path) -> None:
    samples = random(1)
    photo = read_photo(save(tmp_path / "a.tif", tiff(samples, t262=0)))
    assert (numbers(photo)[..., :1] == 65535 - samples.astype(int)).all()


def test_sixteen_bit_tiff_with_alpha_multiplied_in(tmp_path: Path) -> None:
    samples = np.full((5, 7, 4), (1000, 2000, 4000, 32768), np.uint16)
    photo = read_photo(save(tmp_path / "a.tif", tiff(samples, t338=1)))
    assert abs(numbers(photo)[0, 0] - (2000, 4000, 8000, 32768)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    drawn = Image.fromarray(drawing())
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95, "subsampling": 0}
    drawn.save(path, exif=exif(orientation=orientation), **options)
    tagged = io.BytesIO()
    drawn.save(tagged, "PNG", exif=exif(orientation=orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tagged))).astype(int)
    photo = read_photo(path)
    assert photo.exif is not None
    block = Image.Exif()
    block.load(photo.exif)
    assert block.get(0x0112, 1) == 1
    assert numbers(photo).shape == expected.shape
    assert abs(numbers(photo) - expected).mean() < (3 if suffix == ".jpg" else 1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_sixteen_bit_files(tmp_path: Path, suffix: str, orientation: int) -> None:
    drawn = drawing(5, 7)
    deep = drawn.astype(np.uint16) * 257
    tag = exif(orientation=orientation).tobytes().removeprefix(b"Exif\0\0")
    data = png(deep, 2, chunks=chunk(b"eXIf", tag)) if suffix == ".png" else tiff(deep, t274=orientation)
    tagged = io.BytesIO()
    Image.fromarray(drawn).save(tagged, "PNG", exif=exif(orientation=orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tagged))).astype(int) * 257
    found = numbers(read_photo(save(tmp_path / f"a{suffix}", data)))
    assert found.shape == expected.shape
    assert (found == expected).all()


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = drawing()[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.stack([grey, 255 - grey], 2), "LA").save(tmp_path / "b.png")
    assert (numbers(read_photo(tmp_path / "a.png")) == grey[..., None]).all()
    with_alpha = numbers(read_photo(tmp_path / "b.png"))
    assert (with_alpha[..., :3] == grey[..., None]).all()
    assert (with_alpha[..., 3] == 255 - grey).all()


def test_one_bit_and_palette(tmp_path: Path) -> None:
    Image.fromarray(drawing()[..., 0] > 120).save(tmp_path / "bits.png")
    assert set(np.unique(numbers(read_photo(tmp_path / "bits.png")))) == {0, 255}
    palette = Image.fromarray(drawing()).quantize(16)
    palette.save(tmp_path / "palette.png")
    assert (numbers(read_photo(tmp_path / "palette.png")) == np.asarray(palette.convert("RGB"))).all()
    palette.save(tmp_path / "clear.png", transparency=3)
    clear = read_photo(tmp_path / "clear.png").alpha
    assert clear is not None
    assert ((clear[0].numpy() == 0) == (np.asarray(palette) == 3)).all()


def test_cmyk_without_profile_is_converted_plainly(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert (numbers(read_photo(tmp_path / "a.tif")) == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(path, icc_profile=grey_cyan_profile())
    photo = read_photo(path)
    assert photo.warnings == ()
    assert photo.icc is None
    assert abs(numbers(photo) - 119).max() <= 2  # Lab 50 is 119 in sRGB; plain conversion gives cyan


def test_unusable_cmyk_profile_is_told(tmp_path: Path) -> None:
    broken = grey_cyan_profile()[:200]
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.tif", icc_profile=broken)
    photo = read_photo(tmp_path / "a.tif")
    assert (numbers(photo) == 255).all()
    assert "colour profile that cannot be used" in photo.warnings[0]


def test_grey_profile_is_applied_because_rgb_cannot_carry_it(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 128).save(tmp_path / "a.png", icc_profile=linear_grey_profile())
    photo = read_photo(tmp_path / "a.png")
    assert abs(numbers(photo) - 188).max() <= 2  # half the light is 188 in sRGB
    assert photo.icc is None


def test_sixteen_bit_grey_profile_is_told(tmp_path: Path) -> None:
    icc = chunk(b"iCCP", b"grey\0\0" + zlib.compress(linear_grey_profile()))
    photo = read_photo(save(tmp_path / "a.png", png(random(1), 0, chunks=icc)))
    assert photo.icc is None
    assert "not for RGB" in photo.warnings[0]


def test_exif_and_profile_are_kept(tmp_path: Path) -> None:
    Image.fromarray(drawing()).save(tmp_path / "a.jpg", exif=exif(orientation=6), icc_profile=srgb_profile())
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.icc == srgb_profile()
    block = Image.Exif()
    block.load(photo.exif)
    assert block[0x010F] == "Camera maker"
    assert block.get_ifd(0x8769)[0x927C] == bytes(range(200))
    assert block.get_ifd(0x8825)[2] == (50.0, 10.0, 5.0)


def test_preview_picture_of_the_clean_photo_is_dropped(tmp_path: Path) -> None:
    small = io.BytesIO()
    Image.fromarray(drawing(8, 8)).save(small, "JPEG")
    block = exif()
    block.get_ifd(1)[0x0201] = 0
    block.get_ifd(1)[0x0202] = len(small.getvalue())
    Image.fromarray(drawing()).save(tmp_path / "a.jpg", exif=block)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.exif is not None
    assert b"\xff\xd8\xff" not in photo.exif


def test_tiff_exif_holds_no_storage_tags(tmp_path: Path) -> None:
    Image.fromarray(drawing()).save(tmp_path / "a.tif", exif=exif())
    photo = read_photo(tmp_path / "a.tif")
    block = Image.Exif()
    block.load(photo.exif)
    assert block[0x010F] == "Camera maker"
    assert not {256, 257, 258, 259, 262, 273, 279} & set(block)


def test_animated_file_gives_its_first_picture_and_says_so(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        photo = read_photo(tmp_path / name)
        assert (numbers(photo)[0, 0, :3] == (255, 0, 0)).all()
        assert "holds 3 pictures; only the first" in photo.warnings[0]


def test_a_picture_is_the_photo_in_eight_bits(tmp_path: Path) -> None:
    levels = np.arange(2**16, dtype=np.uint16).reshape(128, 512)
    (tmp_path / "deep.png").write_bytes(png(np.dstack([levels, levels[::-1], levels.T.reshape(128, 512)]), 2))
    Image.fromarray(random(4, 8)).save(tmp_path / "alpha.png")
    Image.fromarray(random(3, 8)).save(tmp_path / "turned.jpg", exif=exif(orientation=6))
    for name in ("deep.png", "alpha.png", "turned.jpg"):
        picture, warnings = read_picture(tmp_path / name)
        photo = read_photo(tmp_path / name)
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), to_uint8(photo.pixels))
        assert warnings == photo.warnings


def test_one_pixel(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".tif", ".gif", ".bmp"):
        Image.new("RGB", (1, 1), "white").save(tmp_path / f"a{suffix}")
        assert read_photo(tmp_path / f"a{suffix}").pixels.shape == (3, 1, 1)


def sentence(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_photo(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    assert "does not exist" in sentence(tmp_path / "missing.png")
    assert "is a folder" in sentence(tmp_path)
    assert "empty" in sentence(save(tmp_path / "empty.jpg", b""))


def test_files_that_are_no_image(tmp_path: Path) -> None:
    assert "not an image this program reads" in sentence(save(tmp_path / "a.png", b"hello, I am text"))
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    assert "not an image this program reads" in sentence(save(tmp_path / "a.svg", svg))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    assert "not an image this program reads" in sentence(save(tmp_path / "a.eps", eps))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_truncated(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RNG.integers(0, 256, (80, 90, 3), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    text = sentence(path)
    assert "damaged" in text
    assert "cut short" in text


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_sixteen_bit(tmp_path: Path, kept: float) -> None:
    samples = RNG.integers(0, 65536, (80, 90, 3)).astype(np.uint16)
    for name, data in (("a.png", png(samples, 2)), ("a.tif", tiff(samples))):
        assert "cut short" in sentence(save(tmp_path / name, data[: int(len(data) * kept)]))


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    data = bytearray(png(random(3), 2))
    data[-30] ^= 0xFF
    assert "damaged" in sentence(save(tmp_path / "a.png", bytes(data)))


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_bomb_is_refused_from_its_header(tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("decoding was tried")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    monkeypatch.setattr("cv2.imdecode", decoded)
    bomb = png_header(20_001, 10_000, bits, 0) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert "more than 200 megapixels" in sentence(save(tmp_path / "a.png", bomb))


def test_exactly_200_megapixels_pass_the_door(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    allowed = png_header(20_000, 10_000, 8, 0) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with opened(save(tmp_path / "a.png", allowed)) as image:
        assert image.size == (20_000, 10_000)
    assert not recwarn.list


def test_rare_depths_are_refused_not_guessed(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    assert "32-bit samples" in sentence(tmp_path / "float.tif")
    twelve = tiff(np.zeros((4, 4, 1), np.uint16), t258=(12,))
    assert "12-bit samples" in sentence(save(tmp_path / "twelve.tif", twelve))
    ink = tiff(np.zeros((4, 4, 4), np.uint16), t262=5)
    assert str(tmp_path) in sentence(save(tmp_path / "ink.tif", ink))


def one_of_each_kind() -> dict[str, bytes]:
    small = Image.fromarray(drawing(16, 20))
    files = {
        "16.png": png(drawing(16, 20).astype(np.uint16), 2),
        "16.tif": tiff(drawing(16, 20).astype(np.uint16)),
    }
    for name in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF"):
        buffer = io.BytesIO()
        options = {"compression": "tiff_lzw"} if name == "TIFF" else {}
        small.save(buffer, name, exif=exif(orientation=6), icc_profile=srgb_profile(), **options)
        files[name.lower()] = buffer.getvalue()
    return files


FILES = one_of_each_kind()


@given(
    kind=st.sampled_from(sorted(FILES)),
    hits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
)
@settings(max_examples=150, deadline=None)
@mock.patch(
    "gendeg_core.images.opening.MAX_PIXELS", 10**6
)  # damage makes sizes up, which cost time and memory
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own remarks on broken EXIF
def test_random_damage_gives_a_photo_or_a_sentence(kind: str, hits: list[tuple[float, int]]) -> None:
    data = bytearray(FILES[kind])
    for place, value in hits:
        data[int(place**2 * len(data))] = value  # more often near the start, where the headers are
    with tempfile.TemporaryDirectory() as folder:
        path = save(Path(folder) / f"a.{kind}", bytes(data))
        sentence = ""
        try:
            photo = read_photo(path)
            write_photo(Path(folder) / "b.tif", photo.pixels, photo, settings={"a": 1})
            assert read_settings(Path(folder) / "b.tif") == {"a": 1}
        except ImageError as error:
            sentence = str(error)
        assert sentence == "" or sentence.startswith(str(path))
