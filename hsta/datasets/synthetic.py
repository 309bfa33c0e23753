"""Demo clips: photographed faces with planted micro-movements, because licensed data cannot be shipped.

Made from one public-domain portrait. The faces are real pixels; the people, their movements and their heads' drift
are invented, and the truth of every clip is saved beside it. They show that the whole workflow works; they say
nothing about real micro-expressions.

    <root>/clips.csv                      manifest: clip_id, subject, recording, path, onset, apex, offset, label, fps
    <root>/<subject>/<clip_id>/000001.jpg frames, some of them before the onset and after the offset
    <root>/truth/<clip_id>.npz            see `render_clip`

Deterministic on every machine: the seed decides everything, through NumPy's PCG64; places are computed in float64 and
rounded to 1/256 pixel, and pictures are blurred and sampled as integers, which OpenCV does bit for bit alike on every
processor, so that a last bit that differs does not reach the files.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hsta.datasets import synthetic_faces as faces
from hsta.datasets.synthetic_faces import FRAME_SIZE, Person, Scene
from hsta.datasets.synthetic_motion import ACTIONS, displacement, draw_drift, envelope
from hsta.errors import InputError
from hsta.vision.align import compose, invert, transform_points

VERSION = "2"  # raised by every change to what is rendered
CLASSES = tuple(ACTIONS)
FPS = 30.0
COLUMNS = ("clip_id", "subject", "recording", "path", "onset", "apex", "offset", "label", "fps")

_AMPLITUDES = (0.5, 2.0)  # peak displacement, pixels of a 224-pixel aligned face
_NOISE = 1.0  # grey levels
_FLICKER = 0.01
_SKINS = (
    *((222, 184, 162), (122, 78, 54), (214, 164, 128), (168, 118, 86), (226, 190, 172), (141, 97, 70), (198, 150, 112)),
    *((216, 172, 144), (108, 70, 48)),
)
_HAIRS = (
    *((46, 38, 34), (30, 27, 27), (128, 82, 46), (58, 44, 36), (196, 160, 104), (40, 33, 31), (140, 66, 38)),
    *((150, 146, 142), (88, 60, 40), (70, 52, 40)),
)
_GARMENTS = (
    *((52, 74, 118), (196, 188, 172), (120, 44, 52), (58, 96, 78), (70, 70, 76), (206, 160, 70), (108, 86, 132)),
    *((30, 36, 48), (176, 108, 84), (92, 132, 150)),
)
_WALLS = (
    *(((206, 206, 200), (150, 156, 160)), ((120, 144, 168), (70, 92, 118)), ((182, 160, 132), (128, 106, 84))),
    *(((98, 112, 96), (60, 74, 64)), ((226, 218, 204), (188, 178, 160)), ((84, 84, 92), (48, 48, 56))),
    *(((164, 178, 186), (106, 124, 134)), ((192, 170, 176), (140, 116, 128)), ((150, 160, 140), (206, 204, 190))),
)
_STYLES = ("full", "short", "long", "short", "full", "short", "long")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSpec:
    """All that one clip follows from; `render_clip` makes it anywhere, in any order.

    Attributes:
        seed: of the drift, the noise and the flicker.
        frames: number of frames; they are numbered from 1.
        onset, apex, offset: frame numbers.
        amplitude: largest displacement at the apex, pixels of a 224-pixel aligned face.
        sides: relative strength of the person's right and left side.
        jpeg_quality: 1 to 100.
    """

    clip_id: str
    subject: str
    recording: str
    label: str
    person: Person
    scene: Scene
    seed: int
    frames: int
    onset: int
    apex: int
    offset: int
    amplitude: float
    sides: tuple[float, float]
    jpeg_quality: int


def demo_plan(*, subjects: int = 8, clips_per_class: int = 4, seed: int = 0) -> tuple[ClipSpec, ...]:
    """What to render: ``subjects`` people in two recordings each, ``clips_per_class`` clips of each of `CLASSES`.

    Amplitudes are spread evenly over 0.5 to 2 px within every subject and class, so that no class or person is easier.

    Raises:
        InputError: fewer than two subjects or one clip, or a negative seed.
    """
    for name, value, least in (("subjects", subjects, 2), ("clips_per_class", clips_per_class, 1), ("seed", seed, 0)):
        if value < least:
            raise InputError(f"{value} is too small", where=f"synthetic.{name}", cure=f"{least} or more")
    plan = []
    options = (_SKINS, _HAIRS, _GARMENTS, _WALLS, _STYLES)
    palettes = [_shuffled(seed, which, palette) for which, palette in enumerate(options)]
    for index in range(subjects):
        rng = _rng(seed, 1, index)
        person = _draw_person(rng, index, palettes)
        scenes = [_draw_scene(rng, index, recording, palettes[3]) for recording in range(2)]
        for label in CLASSES:
            for take in range(clips_per_class):
                level = (take + rng.uniform(0.05, 0.95)) / clips_per_class
                plan.append(_draw_clip(rng, index, label, take, level, person, scenes))
    return tuple(plan)


def render_clip(spec: ClipSpec, root: str | Path) -> None:
    """Write one clip's frames and its truth under the folder ``root``.

    ``truth/<clip_id>.npz`` holds, in source pixels unless said otherwise:
        field: (2, H, W) float16, displacement from onset to apex without the head's drift: the skin at x of the onset
            frame is at drift_apex(x + field(x)) in the apex frame.
        moving: (H, W) bool, where the field is longer than a quarter of its largest length.
        numbers: (N,) frame numbers from the first to the last frame on disk.
        strength: (N,) part of the field that is applied in each frame, 0 to 1.
        drift: (N, 2, 3) similarity that takes a point of the head in the onset frame to where it is in each frame.
        landmarks: (468, 2) face mesh of the onset frame.
        onset, apex, offset: frame numbers. amplitude: pixels of a 224-pixel aligned face. label: the class.
    """
    root = Path(root)
    picture, mesh = faces.draw_person(spec.person)
    to_frame = faces.portrait_to_frame(spec.person, spec.scene)
    landmarks = transform_points(to_frame, mesh)
    planted = displacement(spec.label, landmarks, amplitude=spec.amplitude, sides=spec.sides)
    rng = np.random.Generator(np.random.PCG64(spec.seed))
    onset = spec.onset - 1
    drift = draw_drift(rng, spec.frames, onset, landmarks.mean(axis=0))
    strength = envelope(spec.frames, onset, spec.apex - 1, spec.offset - 1)
    flicker = _flicker(rng, spec.frames)
    to_picture = compose(_PORTRAIT_TO_PICTURE, invert(to_frame))
    background, light = faces.draw_background(spec.scene), faces.light_gain(spec.scene)
    folder = root / spec.subject / spec.clip_id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for k in range(spec.frames):
        places = planted.unmoved(_apply(invert(drift[k]), _PIXELS), float(strength[k]))
        x, y = (np.round(part * 256).astype(np.float32) / 256 for part in _apply(to_picture, places))
        person = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        frame = person[..., :3] + background * (1 - person[..., 3:] / 255)
        frame = frame * (light * np.float32(flicker[k])) + _NOISE * rng.standard_normal(frame.shape, np.float32)
        frame = np.clip(np.round(frame), 0, 255).astype(np.uint8)
        done, jpeg = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, spec.jpeg_quality])
        if not done:
            raise OSError(f"OpenCV could not encode frame {k + 1} of {spec.clip_id}")
        (folder / f"{k + 1:06d}.jpg").write_bytes(jpeg.tobytes())
    field = planted.field((FRAME_SIZE, FRAME_SIZE))
    length = np.sqrt((field**2).sum(axis=0))
    truth = root / "truth" / f"{spec.clip_id}.npz"
    truth.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        truth,
        field=field.astype(np.float16),
        moving=length > 0.25 * length.max(),
        numbers=np.arange(1, spec.frames + 1),
        strength=strength,
        drift=drift,
        landmarks=landmarks,
        onset=spec.onset,
        apex=spec.apex,
        offset=spec.offset,
        amplitude=spec.amplitude,
        label=spec.label,
    )


def write_manifest(plan: Sequence[ClipSpec], root: str | Path) -> Path:
    """Write ``clips.csv`` for rendered clips; its presence says that the set is complete. Returns its path."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for spec in plan:
        path = f"{spec.subject}/{spec.clip_id}"
        writer.writerow(
            (
                spec.clip_id,
                spec.subject,
                spec.recording,
                path,
                spec.onset,
                spec.apex,
                spec.offset,
                spec.label,
                f"{FPS:g}",
            )
        )
    target = Path(root) / "clips.csv"
    temporary = target.with_suffix(".csv.tmp")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(target)
    return target


def make_demo(
    root: str | Path,
    *,
    subjects: int = 8,
    clips_per_class: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render all demo clips into ``root`` and write the manifest last. Returns the manifest's path.

    Args:
        progress: called with the number of clips done and of all clips, after each clip.
    """
    plan = demo_plan(subjects=subjects, clips_per_class=clips_per_class, seed=seed)
    Path(root).mkdir(parents=True, exist_ok=True)
    (Path(root) / "clips.csv").unlink(missing_ok=True)
    for done, spec in enumerate(plan, start=1):
        render_clip(spec, root)
        if progress is not None:
            progress(done, len(plan))
    return write_manifest(plan, root)


def _draw_person(rng: np.random.Generator, index: int, palettes: list[tuple]) -> Person:
    skins, hairs, garments, _, styles = palettes
    style = styles[index % len(styles)]
    return Person(
        seed=int(rng.integers(2**63)),
        mirrored=bool(index % 2),
        shape=tuple(float(value) for value in rng.uniform(-1, 1, faces.FEATURES)),
        skin=_jitter(rng, skins[index % len(skins)], 6),
        hair=_jitter(rng, hairs[index % len(hairs)], 5),
        garment=_jitter(rng, garments[index % len(garments)], 10),
        hair_style=style,
        brows=float(rng.uniform(0.35, 0.9)),
        stubble=float(rng.uniform(0.35, 1.0)) if style == "short" and rng.random() < 0.7 else 0.0,
        freckles=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.35 else 0.0,
    )


def _draw_scene(rng: np.random.Generator, index: int, recording: int, walls: tuple) -> Scene:
    return Scene(
        seed=int(rng.integers(2**63)),
        angle=float(rng.uniform(-0.09, 0.09)),
        eye_distance=float(rng.uniform(70, 80)),
        centre=(float(rng.uniform(172, 188)), float(rng.uniform(152, 166))),
        wall=walls[(index + 4 * recording) % len(walls)],
        light=float(rng.uniform(0.82, 1.04)),
        warmth=float(rng.uniform(-0.06, 0.07)),
        slant=float(rng.uniform(-0.28, 0.28)),
    )


def _draw_clip(
    rng: np.random.Generator, index: int, label: str, take: int, level: float, person: Person, scenes: list[Scene]
) -> ClipSpec:
    subject, recording = f"s{index + 1:02d}", take % len(scenes)
    onset = int(rng.integers(3, 5))
    apex = onset + int(rng.integers(5, 8))
    offset = apex + int(rng.integers(5, 8))
    weaker = float(rng.uniform(0.25, 0.95))
    return ClipSpec(
        clip_id=f"{subject}-{label}-{take + 1}",
        subject=subject,
        recording=f"{subject}-r{recording + 1}",
        label=label,
        person=person,
        scene=scenes[recording],
        seed=int(rng.integers(2**63)),
        frames=offset + int(rng.integers(2, 4)),
        onset=onset,
        apex=apex,
        offset=offset,
        amplitude=float(_AMPLITUDES[0] * (_AMPLITUDES[1] / _AMPLITUDES[0]) ** level),
        sides=(1.0, weaker) if rng.random() < 0.5 else (weaker, 1.0),
        jpeg_quality=int(rng.integers(92, 96)),
    )


def _flicker(rng: np.random.Generator, frames: int) -> np.ndarray:
    """(frames,) gain of the light: mains flicker against the frame rate, and a random part."""
    wave = np.sin(rng.uniform(0, 2 * np.pi) + rng.uniform(0.4, 1.6) * np.arange(frames))
    return 1 + _FLICKER * (0.8 * wave + 0.3 * rng.standard_normal(frames))


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _shuffled(seed: int, which: int, options: tuple) -> tuple:
    return tuple(options[i] for i in _rng(seed, 0, which).permutation(len(options)))


def _jitter(rng: np.random.Generator, colour: tuple, spread: float) -> tuple[float, float, float]:
    red, green, blue = (float(np.clip(value + rng.uniform(-spread, spread), 8, 247)) for value in colour)
    return red, green, blue


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(2, H, W) points through a (2, 3) transform."""
    return np.tensordot(matrix[:, :2], points, axes=1) + matrix[:, 2][:, None, None]


_PIXELS = np.mgrid[:FRAME_SIZE, :FRAME_SIZE][::-1].astype(np.float64)
_PORTRAIT_TO_PICTURE = (
    np.array([[1, 0, -faces.GRID_ORIGIN[0]], [0, 1, -faces.GRID_ORIGIN[1]]], np.float64) * faces.GRID_SCALE
)
