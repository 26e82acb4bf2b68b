"""The coverage report and the contact sheet."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gendeg_core.simulate import coverage as report
from gendeg_core.simulate.contact_sheet import main as draw_sheet
from gendeg_core.simulate.photos import list_photos, load_square
from gendeg_core.statistics import published_histogram, to_uint8
from gendeg_core.types import Degradation
from tests.simulate.scenes import photo


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("china.jpg", "flower.jpg"):
        Image.fromarray(to_uint8(photo(150, name))).save(folder / f"{name}.png")
    return folder


def test_a_sample_covers_two_bins_around_it():
    # mu 0.35 is bin 64 (width 0.7 / 128), sigma 0.0 bin 0, at the border.
    covered = report.covered_bins(np.array([0.351]), np.array([0.0]))
    assert covered.sum() == 5 * 3
    assert covered[62:67, 0:3].all()


def test_coverage_is_the_mass_of_the_covered_bins():
    joint = published_histogram(Degradation.SNOW).joint
    sample = report.Sample("flakes", 0.1, 0.1, 0.09)
    expected = joint[16:21, 26:31].sum() / joint.sum()  # 0.1 is in bin 18, 0.09 in bin 28
    assert report.coverage([sample], Degradation.SNOW) == pytest.approx(expected)


def test_the_coverage_command_prints_one_line(photos, capsys):
    report.main([str(photos), "--samples", "6", "--size", "64", "--only", "haze"])
    line = capsys.readouterr().out
    assert line.startswith("haze: ")
    assert "% of the published mass covered" in line


def test_the_contact_sheet_has_a_row_per_family(photos, tmp_path):
    draw_sheet([str(photos), str(tmp_path / "sheet.png"), "--size", "48", "--only", "raindrop"])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 48, 3 * 48)


def test_photos_are_cut_square_without_their_border(photos):
    assert load_square(list_photos(photos)[0], 40).shape == (3, 40, 40)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        list_photos(tmp_path)
