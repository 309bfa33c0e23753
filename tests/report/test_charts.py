"""Lost if these fail: pictures that say what the numbers say."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsta.report import charts, pictures
from hsta.report.text import duration, flatten, moment, plain
from tests.report.builders import make_sample


def decode(markup: str) -> np.ndarray:
    data = re.search(r'src="data:image/[a-z]+;base64,([^"]+)"', markup)[1]
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)


def test_confusion_cells_show_counts_and_shares_of_their_row():
    chart = charts.confusion_matrix([[3, 1], [0, 0]], ("yes", "no"))
    texts = re.findall(r'class="(?:count|share)"[^>]*>([^<]+)<', chart)
    assert texts == ["3", "75%", "1", "25%", "0", "–", "0", "–"]
    assert re.findall(r'fill-opacity="([^"]+)"', chart) == ["0.750", "0.250", "0.000", "0.000"]
    assert "yes taken for no: 1 of 4" in chart


def test_a_score_stands_where_its_value_says():
    chart = charts.score_strip("UF1", 0.8, (0.7, 0.9), {"majority": 0.2, "random": 0.3})
    assert 'cx="80.00%"' in chart and 'x1="70.00%" x2="90.00%"' in chart and 'x1="20.00%"' in chart
    assert "UF1 0.800, 95 % interval 0.700 to 0.900, majority 0.200, random 0.300" in chart


def test_curves_run_from_corner_to_corner():
    chart = charts.curves({"a": ([1, 2], [0.0, 1.0]), "b": ([1, 2], [1.0, None])}, title="Loss", unit_interval=False)
    assert re.findall(r'points="([^"]+)"', chart)[0] == "46.0,180.0 332.0,12.0"
    assert "median-line" in chart
    assert "no value" in charts.curves({"a": ([1], [None])}, title="Loss", unit_interval=False)
    assert "NaN" not in charts.curves({"a": ([1], [0.0])}, title="Loss", unit_interval=False)


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e9))
def test_ticks_are_few_and_cover_the_range(low, span):
    ticks = charts.nice_ticks(low, low + span)
    assert 1 <= len(ticks) <= 7
    if low + span > low:
        slack = 1e-6 * span + 1e-9 * abs(low)
        assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack


def test_flow_pictures_share_one_scale_and_the_wheel_explains_it():
    flow = make_sample().flow
    scale = pictures.common_scale([flow, np.zeros_like(flow)])
    assert scale == 1.0
    assert pictures.common_scale([np.zeros((2, 4, 4))]) == 0.5
    picture = decode(pictures.flow_picture(np.stack([np.full((4, 4), 1.0), np.zeros((4, 4))]), 1.0, alt="right"))
    legend = decode(pictures.wheel(1.0))
    assert picture[0, 0].tolist() == [0, 0, 255]  # to the right: red, BGR
    right = legend[legend.shape[0] // 2, -4]
    assert right[2] > 240 and right[:2].max() < 40 and right[3] > 200
    assert legend[0, 0, 3] == 0


def test_faces_keep_their_colours_and_shrink_to_the_page():
    red = np.zeros((448, 448, 3), np.uint8)
    red[..., 0] = 200
    picture = decode(pictures.face(red, alt="red"))
    assert picture.shape == (224, 224, 3)
    assert picture[10, 10] == pytest.approx([0, 0, 200], abs=4)


def test_the_strip_holds_first_and_last_frame():
    frames = np.repeat(np.arange(0, 200, 10, dtype=np.uint8), 40 * 40 * 3).reshape(20, 40, 40, 3)
    picture = decode(pictures.strip(frames, alt="strip", count=5))
    assert picture.shape == (40, 200, 3)
    assert picture[20, ::40, 0][[0, -1]] == pytest.approx([0, 190], abs=4)


def test_values_read_well():
    assert [duration(value) for value in (4.24, 47, 372.4, 11110)] == ["4.2 s", "47 s", "6 min 12 s", "3 h 5 min"]
    assert moment("2026-01-02T03:04:05+00:00") == "02 January 2026, 03:04 UTC"
    assert moment("yesterday") == "yesterday"
    values = (None, True, 1e-5, [1, 2], [], "x")
    assert [plain(value) for value in values] == ["–", "yes", "1e-05", "1, 2", "none", "x"]
    assert flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 2}]}) == [("a.b", "1"), ("a.c", "none"), ("d[0].e", "2")]
