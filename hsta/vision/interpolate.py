"""Clips of one length: frames interpolated over time, linearly or by the temporal interpolation model (TIM).

TIM (Zhou, Zhao and Pietikäinen 2011, "Towards a practical lipreading system"; used for micro-expressions since Pfister
et al. 2011) embeds a clip as a path graph and follows the curve through it. The eigenvectors of a path graph's
Laplacian are the cosines of the DCT-II, and frames that are linearly independent, as real ones are, leave nothing to
the method's regression: TIM is each pixel's cosine series, evaluated between the frames. This is how it is computed
here. It goes exactly through the frames, and it rings where motion is abrupt; linear interpolation does not ring,
and blends the two nearest frames.
"""

from __future__ import annotations

import numpy as np

_ROWS = 16  # rows of the picture at a time, so that memory holds little beside the clip itself


def sample_positions(frames: int, apex: int, count: int) -> np.ndarray:
    """``count`` places in a clip of ``frames``, evenly from the first to the apex and evenly from there to the last.

    The first frame, the apex and the last frame are among them as they are. Where the apex is neither the first nor
    the last frame, the two spacings differ by no more than dividing ``count`` places between them asks for.

    Returns:
        (count,) float64, increasing, from 0 to ``frames - 1``.
    """
    before = round((count - 1) * apex / (frames - 1))
    if 0 < apex < frames - 1:
        before = min(max(before, 1), count - 2)
    places = [np.linspace(0, apex, before + 1), np.linspace(apex, frames - 1, count - before)[1:]]
    return np.round(np.concatenate(places), 9)


def interpolation_weights(frames: int, positions: np.ndarray, method: str) -> np.ndarray:
    """(N, T) weights of the ``frames`` of a clip in the pictures at (N,) ``positions``, from 0 to T - 1.

    Args:
        method: "linear" or "tim".

    Raises:
        ValueError: unknown method.
    """
    if method == "linear":
        return np.maximum(0.0, 1 - np.abs(positions[:, None] - np.arange(frames)))
    if method == "tim":
        return cosine_basis(frames, positions) @ cosine_basis(frames, np.arange(frames)).T
    raise ValueError(f"unknown interpolation '{method}'")


def cosine_basis(frames: int, positions: np.ndarray) -> np.ndarray:
    """(N, T) orthonormal cosines of the DCT-II of ``frames`` points, evaluated at (N,) positions.

    Column k has k half periods in the clip: its frequency is ``k * fps / (2 * frames)``.
    """
    order = np.arange(frames)
    basis = np.sqrt(2 / frames) * np.cos(np.pi * order * (np.asarray(positions)[:, None] + 0.5) / frames)
    basis[:, 0] = np.sqrt(1 / frames)
    return basis


def interpolate_frames(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pictures that are weighted sums of a clip's frames.

    Args:
        frames: (T, H, W, 3) uint8.
        weights: (N, T) of `interpolation_weights`.

    Returns:
        (N, H, W, 3) uint8.
    """
    result = np.empty((len(weights), *frames.shape[1:]), np.uint8)
    for row in range(0, frames.shape[1], _ROWS):
        part = np.tensordot(weights, frames[:, row : row + _ROWS].astype(np.float64), axes=1)
        result[:, row : row + _ROWS] = np.clip(np.rint(part), 0, 255)
    return result
