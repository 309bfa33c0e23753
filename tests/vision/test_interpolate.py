"""If these fail, clips brought to one length lose their apex, run at a wrong speed or change frames that were real."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsta.vision.interpolate import cosine_basis, interpolate_frames, interpolation_weights, sample_positions

METHODS = ("tim", "linear")


@given(st.integers(2, 60), st.data(), st.integers(3, 80))
def test_positions_keep_onset_apex_and_offset(frames, data, count):
    apex = data.draw(st.integers(0, frames - 1))
    positions = sample_positions(frames, apex, count)
    assert len(positions) == count and (np.diff(positions) > 0).all()
    assert positions[0] == 0 and positions[-1] == frames - 1 and apex in positions


def test_positions_are_even_where_the_apex_allows_it():
    assert np.allclose(sample_positions(11, 5, 21), np.arange(21) / 2)
    assert np.allclose(sample_positions(9, 4, 5), [0, 2, 4, 6, 8])


@pytest.mark.parametrize("method", METHODS)
def test_real_frames_stay_as_they_are(method):
    frames = np.random.default_rng(0).integers(0, 256, (9, 20, 20, 3), np.uint8)
    positions = sample_positions(9, 3, 17)
    result = interpolate_frames(frames, interpolation_weights(9, positions, method))
    assert result.shape == (17, 20, 20, 3) and result.dtype == np.uint8
    whole = np.isclose(positions % 1, 0)
    assert whole.sum() >= 3 and np.array_equal(result[whole], frames[positions[whole].astype(int)])


def test_tim_follows_a_smooth_motion_that_linear_cuts_across():
    def wave(t):
        return 100 * np.cos(np.pi * (np.asarray(t) + 0.5) / 3)

    positions = np.linspace(0, 11, 45)
    error = {
        method: np.abs(interpolation_weights(12, positions, method) @ wave(np.arange(12)) - wave(positions)).max()
        for method in METHODS
    }
    assert error["tim"] < 1e-9 and error["linear"] > 5


def test_tim_equals_the_graph_embedding_of_the_paper():
    """As published: centred frames regressed on the eigenvectors of the path graph's Laplacian (Zhou et al. 2011)."""
    count = 8
    pixels = np.random.default_rng(1).normal(size=(50, count))
    adjacency = np.eye(count, k=1) + np.eye(count, k=-1)
    _, vectors = np.linalg.eigh(np.diag(adjacency.sum(axis=0)) - adjacency)
    places = np.array([0.3, 2.5, 6.9])
    curve = cosine_basis(count, places)[:, 1:]
    signs = np.sign((cosine_basis(count, np.arange(count))[:, 1:] * vectors[:, 1:]).sum(axis=0))
    mean = pixels.mean(axis=1, keepdims=True)
    regression = (pixels - mean) @ (vectors[:, 1:] * signs)
    expected = mean + regression @ curve.T
    assert np.allclose(pixels @ interpolation_weights(count, places, "tim").T, expected)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="unknown"):
        interpolation_weights(5, np.array([0.5]), "cubic")
