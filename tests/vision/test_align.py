"""If these fail, faces lie at wrong places or are blurred or aliased."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsta.vision.align import (
    affine_from_points,
    centre_square,
    compose,
    eye_template,
    invert,
    mouth_template,
    similarity_from_eyes,
    transform_points,
    warp,
)

coordinate = st.floats(-500, 500)


@given(st.tuples(coordinate, coordinate), st.floats(5, 300), st.floats(-3, 3))
def test_eyes_land_on_the_template_by_a_similarity(first, distance, angle):
    eyes = np.array([first, np.add(first, [distance * np.cos(angle), distance * np.sin(angle)])])
    template = eye_template(224, 0.34, 0.36)
    matrix = similarity_from_eyes(eyes, template)
    assert np.allclose(transform_points(matrix, eyes), template, atol=1e-6)
    linear = matrix[:, :2]
    assert np.allclose(linear.T @ linear, np.eye(2) * np.linalg.det(linear)) and np.linalg.det(linear) > 0
    assert np.allclose(transform_points(compose(invert(matrix), matrix), eyes), eyes, atol=1e-6)


def test_the_template_is_symmetric_and_scales():
    template = eye_template(224, 0.34, 0.36)
    assert template[:, 0].sum() == pytest.approx(223) and np.ptp(template[:, 0]) == pytest.approx(0.34 * 224)
    assert np.allclose((eye_template(112, 0.34, 0.36) + 0.5) * 2, template + 0.5)


def test_three_points_land_on_the_template_by_an_affine_map():
    points = np.array([[110.3, 80.2], [180.9, 91.4], [140.0, 170.5]])
    template = np.stack([*eye_template(224, 0.34, 0.36), mouth_template(224, 0.7)])
    assert np.allclose(transform_points(affine_from_points(points, template), points), template)
    line = np.array([[10.0, 10], [20, 20], [30, 30.0]])
    with pytest.raises(ValueError, match="line"):
        affine_from_points(line, template)


@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90), (60, 60)])
def test_the_centre_square_fills_the_picture(width, height):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    top, left = (height - 60) // 2, (width - 60) // 2
    assert np.array_equal(warp(image, centre_square(width, height, 60), 60), image[top : top + 60, left : left + 60])
    corners = transform_points(centre_square(width, height, 224), np.array([[left - 0.5, top - 0.5]]))
    assert np.allclose(corners, -0.5)


def test_warp_samples_where_the_transform_says():
    y, x = np.mgrid[:200, :300].astype(np.float32)
    image = np.clip(100 + 40 * np.sin(x / 9) + 40 * np.cos(y / 11), 0, 255).astype(np.uint8)
    matrix = similarity_from_eyes(np.array([[110.3, 80.2], [180.9, 91.4]]), eye_template(160, 0.34, 0.36))
    aligned = warp(image, matrix, 160)
    place = np.array([[40.0, 60.0], [100.0, 90.0], [80.0, 120.0]])
    source = transform_points(invert(matrix), place)
    expected = 100 + 40 * np.sin(source[:, 0] / 9) + 40 * np.cos(source[:, 1] / 11)
    found = [aligned[int(v), int(u)] for u, v in place]
    assert np.abs(np.array(found) - expected).max() < 1.5


def test_shrinking_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (400, 200))[..., None].repeat(3, axis=2)
    small = warp(stripes, np.array([[0.4, 0, 0], [0, 0.4, 0]]), 150)
    assert small[20:-20, 20:-20].std() < 6  # without the filter it would be tens of grey levels


def test_places_outside_repeat_the_border():
    image = np.full((50, 50, 3), 77, np.uint8)
    for matrix in (np.array([[1.0, 0, 40], [0, 1, 40]]), np.array([[1.0, 0, 500], [0, 1, -400]])):
        assert (warp(image, matrix, 64) == 77).all()


def test_one_sampling_keeps_detail():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 120), np.uint8), (0, 0), 1.2)
    shifted = warp(image, np.array([[1, 0, 0.5], [0, 1, 0]]), 120)
    back = warp(shifted, np.array([[1, 0, -0.5], [0, 1, 0]]), 120)
    assert np.abs(back[10:-10, 10:-10].astype(int) - image[10:-10, 10:-10]).mean() < 1
