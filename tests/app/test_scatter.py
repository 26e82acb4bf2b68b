"""What the map sends to the browser, and what it takes from it."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from app.widgets.scatter import STEPS, picked, scatter_value
from gendeg_core.embed.figures import UNKNOWN, colours_of


def codes(value: dict) -> list[int]:
    return list(base64.b64decode(value["codes"]))


def test_points_arrive_as_they_are():
    points = np.array([[1.5, -2], [0, 7]])
    value = scatter_value(points, ["rain", "haze"], tips=["a.png", "b.png"], stars=[(1, 2, "mine")])
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(value["points"]), "<f4"), [1.5, -2, 0, 7])
    assert (value["count"], value["tips"]) == (2, ["a.png", "b.png"])
    assert value["stars"] == [{"x": 1.0, "y": 2.0, "label": "mine"}]


def test_names_have_the_colours_of_the_figure():
    value = scatter_value(np.zeros((4, 2)), ["rain", "motion_blur", "", "rain"])
    assert value["names"] == ["motion blur", "rain", "unknown"]
    assert codes(value) == [1, 0, 2, 1]
    assert value["palette"] == list(colours_of(["rain", "motion_blur", ""]).values())


def test_numbers_climb_the_scale_and_unknown_ones_are_grey():
    value = scatter_value(np.zeros((4, 2)), np.array([0.1, 0.7, np.nan, 0.4]), colour_label="mu")
    assert codes(value) == [0, STEPS - 1, STEPS, STEPS // 2]
    assert value["palette"][STEPS] == UNKNOWN
    assert value["scale"] == {"label": "mu", "low": 0.1, "high": 0.7, "steps": STEPS}
    assert value["names"] is None


def test_all_numbers_unknown_or_equal():
    assert codes(scatter_value(np.zeros((2, 2)), np.array([np.nan, np.nan]))) == [STEPS, STEPS]
    assert codes(scatter_value(np.zeros((2, 2)), np.array([0.3, 0.3]))) == [0, 0]


def test_lengths_must_fit():
    with pytest.raises(ValueError, match="1 colours for 2 points"):
        scatter_value(np.zeros((2, 2)), ["rain"])
    with pytest.raises(ValueError, match="3 tips for 2 points"):
        scatter_value(np.zeros((2, 2)), ["rain"] * 2, tips=["a"] * 3)
    with pytest.raises(ValueError, match="300 names are too many"):
        scatter_value(np.zeros((300, 2)), [str(k) for k in range(300)])


def test_what_was_picked():
    assert picked(SimpleNamespace(index=3, star=False), 10) == (3, False)
    assert picked(SimpleNamespace(index=0, star=True), 10, stars=1) == (0, True)


@pytest.mark.parametrize("index", [-1, 10, "3", 2.5, True, None])
def test_a_point_that_is_none_is_refused(index: object):
    with pytest.raises(gr.Error, match="the map has no photo"):
        picked(SimpleNamespace(index=index, star=False), 10)
    with pytest.raises(gr.Error):
        picked(SimpleNamespace(index=0, star=True), 10)
