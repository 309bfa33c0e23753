"""Dense optical flow between two aligned faces, optical strain, and pictures of both."""

from __future__ import annotations

import cv2
import numpy as np

from hsta.vision.recipe import FARNEBACK_WINDOW


def optical_flow(
    first: np.ndarray, second: np.ndarray, method: str = "farneback", *, window: int | None = None
) -> np.ndarray:
    """Displacement from ``first`` to ``second``: a point x of the first is found at x + flow(x) in the second.

    Args:
        first, second: (H, W) uint8 grayscale.
        method: "farneback" (the most accurate for its time at 0.2 to 0.5 px), "dis" (DIS medium with finest scale 0;
            the presets as shipped lose a fifth of the motion) or "tvl1" (the literature's; halves small motion under
            noise).
        window: Farneback's averaging window in pixels, None for 21; wider is less noise and more blur.

    Returns:
        (2, H, W) float32, u to the right and v down, pixels.

    Raises:
        ValueError: unknown method, ``window`` with a method that has none, images that are not (H, W) uint8 of one
            size.
    """
    for image in (first, second):
        if image.ndim != 2 or image.dtype != np.uint8 or image.shape != first.shape:
            raise ValueError(f"flow needs two (H, W) uint8 images of one size, not {image.shape} {image.dtype}")
    if window is not None and method != "farneback":
        raise ValueError(f"flow method '{method}' has no window")
    if method == "farneback":
        field = cv2.calcOpticalFlowFarneback(
            first,
            second,
            None,
            pyr_scale=0.5,
            levels=3,
            winsize=window or FARNEBACK_WINDOW,
            iterations=3,
            poly_n=5,
            poly_sigma=1.2,
            flags=0,
        )
    elif method == "dis":
        engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        engine.setFinestScale(0)
        field = engine.calc(first, second, None)
    elif method == "tvl1":
        field = cv2.optflow.DualTVL1OpticalFlow_create().calc(first, second, None)
    else:
        raise ValueError(f"unknown flow method '{method}'")
    return np.ascontiguousarray(field.transpose(2, 0, 1), np.float32)


def optical_strain(flow: np.ndarray) -> np.ndarray:
    """Magnitude of the infinitesimal strain of a flow field, (..., 2, H, W) to (..., H, W), pixels per pixel.

    |e| = sqrt(exx^2 + eyy^2 + 2 exy^2) = sqrt(ux^2 + vy^2 + (uy + vx)^2 / 2), derivatives by central differences:
    invariant to translation and, to first order, to rotation of the head (Shreve et al. 2011).
    """
    u, v = flow[..., 0, :, :], flow[..., 1, :, :]
    uy, ux = np.gradient(u, axis=(-2, -1))
    vy, vx = np.gradient(v, axis=(-2, -1))
    return np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)


def flow_to_rgb(flow: np.ndarray, limit: float | None = None) -> np.ndarray:
    """A picture of a flow field: hue is the direction, saturation the length, white is no motion.

    Args:
        flow: (2, H, W), pixels.
        limit: length shown in full colour, pixels; None for the 99.5th percentile of the field, at least 0.25 px.

    Returns:
        (H, W, 3) uint8 RGB. Right is red, down is yellow-green, left is cyan, up is violet.
    """
    length, angle = np.hypot(flow[0], flow[1]), np.arctan2(flow[1], flow[0])
    limit = limit if limit is not None else max(float(np.percentile(length, 99.5)), 0.25)
    hsv = np.empty((*length.shape, 3), np.uint8)
    hsv[..., 0] = np.round(np.degrees(angle) % 360 / 2).astype(np.int64) % 180  # OpenCV's hue is in steps of 2 degrees
    hsv[..., 1] = np.clip(length / limit, 0, 1) * 255
    hsv[..., 2] = 255
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
