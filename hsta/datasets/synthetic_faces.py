"""People who do not exist, from one photographed face: other features, skin, hair, clothes, light, background.

A `Person` is drawn once, as a transparent picture on a grid of four points for each pixel of the portrait
(``assets/astronaut.png``), with its face mesh. A `Scene` says where that picture lies in the frames of a recording,
and in what light and before what background; `hsta.datasets.synthetic` moves it. "Portrait" coordinates are pixels of
the portrait.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

FRAME_SIZE = 360
GRID_ORIGIN = (60.0, -20.0)  # portrait coordinates of the picture's first pixel
GRID_SCALE = 4  # picture pixels for each portrait pixel: about 2.3 for each pixel of a frame
GRID_SIZE = (330 * GRID_SCALE, 320 * GRID_SCALE)  # height, width

_ASSETS = Path(__file__).parent / "assets"
_PORTRAIT_WIDTH = 512
_MIDLINE = 224.0  # of the face
_SKULL_CENTRE, _SKULL_AXES = (224.0, 97.0), (57.0, 66.0)  # the head without hair
_HAIR_VOLUME = {"short": 2.0, "full": 0.95, "long": 1.25}  # how much the hair's distance from the skull shrinks
_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
_RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
_LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
_RIGHT_BROW, _LEFT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70), (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_BEARD = (132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 426, 327, 2, 98, 206)

# Features: smooth displacements of the portrait by kind, centres, radii, and what a strength of 1 does.
# "move" shifts by (x, y) pixels; "grow" scales by 1 + (x, y) about each centre; "widen" scales x by 1 + x about the
# midline.
_FEATURES: tuple[tuple[str, tuple[tuple[float, float], ...], tuple[float, float], tuple[float, float]], ...] = (
    ("widen", ((224, 110),), (100, 110), (0.075, 0)),  # face
    ("widen", ((222, 160),), (80, 34), (0.13, 0)),  # jaw
    ("move", ((221, 178),), (64, 42), (0, 5.0)),  # chin
    ("grow", ((202, 101), (246.5, 104)), (26, 18), (0.15, 0.20)),  # eyes
    ("widen", ((224, 102),), (56, 22), (0.06, 0)),  # eye spacing
    ("move", ((222.5, 130),), (28, 30), (0, 3.2)),  # nose length
    ("grow", ((222.5, 128),), (25, 20), (0.22, 0)),  # nose width
    ("grow", ((222.5, 143),), (44, 26), (0.16, 0)),  # mouth width
    ("grow", ((222.5, 143),), (42, 22), (0, 0.24)),  # lips
    ("move", ((222.5, 146),), (48, 26), (0, 2.6)),  # mouth height
    ("move", ((200, 88), (250, 91)), (36, 17), (0, 2.2)),  # brow height
    ("move", ((224, 72),), (95, 32), (0, -4.0)),  # hairline
)
FEATURES = len(_FEATURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What makes one invented person. Colours are RGB, 0 to 255.

    Attributes:
        seed: of the skin's and hair's own texture.
        mirrored: left and right exchanged.
        shape: strength of each of `_FEATURES`, about -1 to 1.
        skin, hair, garment: mean colours.
        hair_style: "short", "full" or "long".
        brows: how much darker the brows are, 0 to 1.
        stubble: strength of a beard shadow, 0 to 1.
        freckles: strength of freckles, 0 to 1.
    """

    seed: int
    mirrored: bool
    shape: tuple[float, ...]
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    garment: tuple[float, float, float]
    hair_style: str
    brows: float
    stubble: float
    freckles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What differs between recordings of one person: pose, light, background.

    Attributes:
        seed: of the background.
        angle: in-plane rotation of the head, radians.
        eye_distance: pixels of the frame.
        centre: point between the eyes, pixels of the frame.
        wall: two RGB colours that the background runs between.
        light: relative brightness, 1 as photographed.
        warmth: relative gain of red against blue, 0 as photographed.
        slant: relative brightening from the left to the right edge.
    """

    seed: int
    angle: float
    eye_distance: float
    centre: tuple[float, float]
    wall: tuple[tuple[float, float, float], tuple[float, float, float]]
    light: float
    warmth: float
    slant: float


@lru_cache(maxsize=2)
def draw_person(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Draw one person.

    Returns:
        (H, W, 4) uint8 on the picture's grid: RGB multiplied by coverage, and coverage (255 is opaque);
        (468, 2) face mesh, portrait coordinates.
    """
    height, width = GRID_SIZE
    y, x = np.mgrid[:height, :width] / GRID_SCALE
    source = _rounded(_source(np.stack([x + GRID_ORIGIN[0], y + GRID_ORIGIN[1]]), person))
    photo = cv2.remap(_portrait(), *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    original = _mesh(person.mirrored)
    parts = _Parts(source, original)
    texture = _Texture(person.seed)
    picture = np.zeros((height, width, 4), np.float32)
    if person.hair_style == "long":
        strands = 0.72 + 0.13 * texture.strands
        _cover(picture, strands[..., None] * np.float32(person.hair), parts.drawn("long_hair", 3.0))
    _cover(picture, _skin(photo, person, parts, texture), parts.drawn("skin", 0.7))
    cloth = 0.92 + 0.03 * texture.fine + 0.09 * texture.folds
    _cover(picture, cloth[..., None] * np.float32(person.garment), parts.drawn("garment", 1.0))
    _cover(picture, _hair(photo, person, texture), parts.drawn("hair", 1.3))
    picture[..., 3] *= 255
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), _drawn(original, person)


def portrait_to_frame(person: Person, scene: Scene) -> np.ndarray:
    """The (2, 3) affine map from portrait to frame coordinates; it mirrors where the person is mirrored."""
    eyes = _mesh(person.mirrored)[[33, 133, 362, 263]].reshape(2, 2, 2).mean(axis=1)
    middle, along = eyes.mean(axis=0), eyes[1] - eyes[0]
    flip = np.diag([-1.0, 1.0]) if person.mirrored else np.eye(2)
    along = flip @ along
    ratio = scene.eye_distance * complex(np.cos(scene.angle), np.sin(scene.angle)) / complex(*along)
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]]) @ flip
    return np.column_stack([linear, np.array(scene.centre) - linear @ middle])


def draw_background(scene: Scene) -> np.ndarray:
    """(FRAME_SIZE, FRAME_SIZE, 3) float32, what is behind the person: a wall out of focus."""
    rng = np.random.Generator(np.random.PCG64(scene.seed))
    coarse = rng.integers(0, 2**16, (5, 5), np.uint16)
    blend = cv2.resize(coarse, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_LINEAR_EXACT)
    blend = cv2.GaussianBlur(blend, (0, 0), 20.0).astype(np.float32) / 65535
    ramp = np.linspace(-0.35, 0.35, FRAME_SIZE, dtype=np.float32)
    across, down = (np.float32(value) for value in rng.uniform(-1, 1, 2))
    blend = np.clip(np.float32(0.6) * blend + np.float32(0.2) + ramp[None, :] * across + ramp[:, None] * down, 0, 1)
    first, second = (np.float32(colour) for colour in scene.wall)
    return first + blend[..., None] * (second - first)


def light_gain(scene: Scene) -> np.ndarray:
    """(FRAME_SIZE, FRAME_SIZE, 3) float32, what the scene's light multiplies colours by."""
    ramp = np.linspace(-0.5, 0.5, FRAME_SIZE, dtype=np.float32) * np.float32(scene.slant)
    colour = np.float32([1 + scene.warmth, 1, 1 - scene.warmth])
    return np.float32(scene.light) * (1 + ramp)[None, :, None] * np.ones((FRAME_SIZE, 1, 1), np.float32) * colour


@lru_cache(maxsize=1)
def _portrait() -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(_ASSETS / "astronaut.png"), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@lru_cache(maxsize=1)
def _hand_drawn() -> dict[str, list[list[float]]]:
    return json.loads((_ASSETS / "astronaut_parts.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=2)
def _mesh(mirrored: bool) -> np.ndarray:
    """(468, 2) face mesh in portrait coordinates; or of the mirrored portrait, where the person's right is the left."""
    table = np.loadtxt(_ASSETS / "astronaut_mesh.csv", delimiter=",", skiprows=1)
    if not mirrored:
        return table[:, :2]
    return np.column_stack([_PORTRAIT_WIDTH - 1 - table[:, 2], table[:, 3]])


def _rounded(places: np.ndarray) -> np.ndarray:
    """Places to sample a picture at, as float32 multiples of 1/256 pixel."""
    return (np.round(places * 256) / 256).astype(np.float32)


def _source(points: np.ndarray, person: Person) -> np.ndarray:
    """Where in the photograph the drawn person's (2, ...) portrait points come from."""
    x, y = points[0].copy(), points[1].copy()
    for strength, (kind, centres, (radius_x, radius_y), (effect_x, effect_y)) in zip(person.shape, _FEATURES):
        effect_x, effect_y = strength * effect_x, strength * effect_y
        for centre_x, centre_y in centres:
            near = (np.abs(points[0] - centre_x) < radius_x) & (np.abs(points[1] - centre_y) < radius_y)
            here = points[:, near]
            dx, dy = here[0] - centre_x, here[1] - centre_y
            weight = np.maximum(1 - (dx / radius_x) ** 2 - (dy / radius_y) ** 2, 0) ** 2
            if kind == "move":
                x[near] -= weight * effect_x
                y[near] -= weight * effect_y
            elif kind == "grow":
                x[near] -= weight * (effect_x / (1 + effect_x)) * dx
                y[near] -= weight * (effect_y / (1 + effect_y)) * dy
            else:
                x[near] -= weight * (effect_x / (1 + effect_x)) * (here[0] - _MIDLINE)
    dx, dy = x - _SKULL_CENTRE[0], y - _SKULL_CENTRE[1]
    distance = np.sqrt((dx / _SKULL_AXES[0]) ** 2 + (dy / _SKULL_AXES[1]) ** 2)
    upper = np.clip((132 - y) / 22, 0, 1)
    beyond = np.maximum(distance - 1, 0) * upper * (_HAIR_VOLUME[person.hair_style] - 1) / np.maximum(distance, 1e-3)
    return np.stack([x + beyond * dx, y + beyond * dy])


def _drawn(points: np.ndarray, person: Person) -> np.ndarray:
    """Where the drawn person shows (N, 2) points of the photograph: inverse of `_source`, by fixed-point iteration."""
    target = points.T.astype(np.float64)
    drawn = target.copy()
    for _ in range(40):
        drawn += 0.7 * (target - _source(drawn, person))
    return drawn.T


class _Parts:
    """Soft masks of parts of the photograph, as the drawn person shows them: (H, W) float32, 0 to 1."""

    def __init__(self, source: np.ndarray, mesh: np.ndarray):
        self._x, self._y = ((source[i] - np.float32(GRID_ORIGIN[i])) * np.float32(GRID_SCALE) for i in (0, 1))
        self._mesh = mesh

    def outline(self, points: tuple[tuple[float, float], ...], softness: float) -> np.ndarray:
        """Inside a closed line through portrait points; ``softness`` is the edge's Gaussian sigma, portrait pixels."""
        mask = np.zeros(GRID_SIZE, np.uint8)
        polygon = (np.array(points) - GRID_ORIGIN) * GRID_SCALE
        cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
        mask = cv2.GaussianBlur(mask, (0, 0), softness * GRID_SCALE)
        return cv2.remap(mask, self._x, self._y, cv2.INTER_LINEAR).astype(np.float32) / 255

    def drawn(self, name: str, softness: float) -> np.ndarray:
        """Inside one of the lines drawn by hand, ``assets/astronaut_parts.json``."""
        return self.outline(tuple(map(tuple, _hand_drawn()[name])), softness)

    def mesh(self, *contours: tuple[int, ...], softness: float) -> np.ndarray:
        """Inside any of the closed lines through mesh points."""
        return np.max([self.outline(tuple(map(tuple, self._mesh[list(line)])), softness) for line in contours], axis=0)


class _Texture:
    """A person's own textures on the picture's grid, of about unit variance, without detail too fine for a frame."""

    def __init__(self, seed: int):
        rng = np.random.Generator(np.random.PCG64(seed))
        self.fine = _noise(rng, GRID_SIZE, 2.0)
        self.medium = _noise(rng, GRID_SIZE, 4.5)
        self.spots = np.maximum(_noise(rng, GRID_SIZE, 5.0) - np.float32(1.4), 0)
        coarse = _noise(rng, (GRID_SIZE[0] // 20, GRID_SIZE[1] // 20), 3.0)
        folds = cv2.resize(_as_bytes(coarse), GRID_SIZE[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
        self.folds = _from_bytes(cv2.GaussianBlur(folds, (0, 0), 8.0))
        self.strands = self._hair(rng)

    @staticmethod
    def _hair(rng: np.random.Generator) -> np.ndarray:
        """Noise drawn out along lines that run from the parting outwards and down."""
        height, width = GRID_SIZE
        y, x = np.mgrid[:height, :width] / GRID_SCALE
        dx, dy = x + GRID_ORIGIN[0] - 214, y + GRID_ORIGIN[1] - 32
        radius, angle = np.sqrt(dx * dx + 0.6 * dy * dy), np.arctan2(dx, dy + 40)
        across = _rounded((angle + np.pi + 0.002 * radius) * (2048 / (2 * np.pi)))
        polar = _as_bytes(_noise(rng, (360, 2048), 1.6, 14.0))
        strands = cv2.remap(polar, across, _rounded(radius * 1.2), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        return _from_bytes(strands)


def _noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma_x: float, sigma_y: float | None = None
) -> np.ndarray:
    """(H, W) float32 blurred Gaussian noise of unit variance. Blurred as 16-bit integers, which is exact everywhere."""
    sigma_y = sigma_y or sigma_x
    white = np.clip(np.round(rng.standard_normal(shape, np.float32) * 6000 + 32768), 0, 65535).astype(np.uint16)
    blurred = cv2.GaussianBlur(white, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y).astype(np.float32)
    deviation = 6000 / (2 * np.sqrt(np.pi * sigma_x * sigma_y))  # of white noise after a Gaussian blur
    return (blurred - np.float32(32768)) / np.float32(deviation)


def _as_bytes(noise: np.ndarray) -> np.ndarray:
    return np.clip(np.round(noise * 32 + 128), 0, 255).astype(np.uint8)


def _from_bytes(stored: np.ndarray) -> np.ndarray:
    return (stored.astype(np.float32) - 128) / 32


def _skin(photo: np.ndarray, person: Person, parts: _Parts, texture: _Texture) -> np.ndarray:
    """The photographed skin in another colour, with pores, freckles, brows, beard; eyes and teeth as photographed."""
    tone = photo / np.float32([212, 172, 148])
    skin = np.float32(person.skin) * tone
    skin *= (1 + 0.022 * texture.fine + 0.022 * texture.medium)[..., None]
    skin *= 1 - 0.28 * person.freckles * np.minimum(texture.spots, 1.5)[..., None] * np.float32([0.6, 0.9, 1.0])
    lips = parts.mesh(_LIPS, softness=1.0)
    beard = parts.mesh(_BEARD, softness=4.0) * (1 - lips) * person.stubble * np.clip(0.66 + 0.10 * texture.fine, 0, 1)
    skin += (beard * 0.55)[..., None] * (0.55 * np.float32(person.hair) + 0.25 * np.float32(person.skin) - skin)
    brows = parts.mesh(_RIGHT_BROW, _LEFT_BROW, softness=1.1) * person.brows * np.clip(0.76 + 0.14 * texture.fine, 0, 1)
    skin += brows[..., None] * (0.45 * np.float32(person.hair) + 0.15 * np.float32(person.skin) - skin)
    kept = parts.mesh(_RIGHT_EYE, _LEFT_EYE, _INNER_LIPS, softness=0.5)[..., None]
    return skin + kept * (0.9 * photo - skin)


def _hair(photo: np.ndarray, person: Person, texture: _Texture) -> np.ndarray:
    """The photographed hair in another colour, with strands."""
    tone = (photo[..., 0] + photo[..., 1] + photo[..., 2]) / 324
    return np.float32(person.hair) * (0.35 + 0.65 * tone + 0.05 * texture.strands)[..., None]


def _cover(picture: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> None:
    """Lay a part over the picture (RGB multiplied by coverage, coverage 0 to 1), in place."""
    coverage = coverage[..., None]
    picture *= 1 - coverage
    picture[..., :3] += np.clip(colour, 0, 255) * coverage
    picture[..., 3:] += coverage
