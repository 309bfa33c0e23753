"""Pixels as data URLs: faces as JPEG, flow fields as PNG in the colours of a direction wheel."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from hsta.report.markup import Markup, tag

LARGEST = 224  # a picture's longer side in the page, pixels


def face(image: np.ndarray, *, alt: str) -> Markup:
    """An ``img`` of an RGB picture (H, W, 3) uint8, made smaller where it is larger than the page needs."""
    import cv2

    scale = LARGEST / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return _img(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 88], alt)


def strip(frames: np.ndarray, *, alt: str, count: int = 8) -> Markup:
    """Up to ``count`` frames of (T, H, W, 3), evenly spaced, first and last among them, side by side in one picture."""
    import cv2

    chosen = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    side = min(72, frames.shape[2])
    height = max(1, round(frames.shape[1] * side / frames.shape[2]))
    small = [cv2.resize(frames[k], (side, height), interpolation=cv2.INTER_AREA) for k in chosen]
    return _img(np.concatenate(small, axis=1), ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 85], alt)


def flow_picture(flow: np.ndarray, max_px: float, *, alt: str) -> Markup:
    """An ``img`` of a flow field (2, H, W): hue is direction, strength is length, full at ``max_px``."""
    from hsta.vision.flow import flow_to_rgb

    return _img(flow_to_rgb(np.asarray(flow, np.float32), max_px), ".png", [], alt)


def wheel(max_px: float, *, size: int = 96) -> Markup:
    """The legend of `flow_picture`: a disc in which every direction has its colour, the rim at ``max_px``."""
    from hsta.vision.flow import flow_to_rgb

    axis = np.linspace(-1, 1, size, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    rgb = flow_to_rgb(np.stack([u, v]) * max_px, max_px)
    edge = np.clip((1 - np.hypot(u, v)) * size / 2, 0, 1)[..., None]  # the rim, smoothed
    rgba = np.concatenate([rgb, (edge * 255).astype(np.uint8)], axis=2)
    return _img(
        rgba, ".png", [], f"Colour wheel of motion directions, full colour at {max_px:g} pixels", class_="wheel"
    )


def common_scale(flows: Sequence[np.ndarray]) -> float:
    """One scale for all flow pictures: the 99.5th percentile of motion, rounded up to half a pixel, at least half a
    pixel."""
    lengths = np.concatenate([np.hypot(*np.asarray(flow, np.float32)).ravel() for flow in flows])
    return max(0.5, float(np.ceil(np.quantile(lengths, 0.995) * 2) / 2))


def _img(image: np.ndarray, kind: str, options: list[int], alt: str, **attributes: str) -> Markup:
    import cv2

    order = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
    done, data = cv2.imencode(kind, cv2.cvtColor(np.ascontiguousarray(image), order), options)
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape}")
    mime = "image/jpeg" if kind == ".jpg" else "image/png"
    source = f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"
    return tag("img", src=source, alt=alt, width=image.shape[1], height=image.shape[0], **attributes)
