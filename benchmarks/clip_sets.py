"""Sets of clips for measurements and tests of preparation: many clips out of few, and clips damaged in known ways."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from hsta.datasets import synthetic

COLUMNS = ("clip_id", "subject", "recording", "path", "onset", "apex", "offset", "label", "fps")


def read_rows(manifest: Path) -> list[dict[str, str]]:
    """The manifest's rows."""
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(manifest: Path, rows: list[dict[str, str]]) -> Path:
    """Write a manifest. Returns its path."""
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def multiply(manifest: Path, folder: Path, *, clips: int, subjects: int = 8, frames: int = 0) -> Path:
    """A set of ``clips`` clips that repeats those of ``manifest``, with folders of their own (hard links). Returns its
    manifest.

    Args:
        subjects: the clips are dealt out to so many.
        frames: the clips are cut to so many frames from the onset; 0 keeps them whole.
    """
    source = read_rows(manifest)
    rows = []
    for number in range(clips):
        row = source[number % len(source)]
        subject = f"p{number % subjects:02d}"
        name = f"{subject}-{number:05d}"
        shutil.copytree(manifest.parent / row["path"], folder / subject / name, copy_function=os.link)
        onset, apex, offset = (int(row[column]) for column in ("onset", "apex", "offset"))
        if frames:
            offset = min(offset, onset + frames - 1)
            apex = min(apex, offset)
        changed = {"clip_id": name, "subject": subject, "recording": name, "path": f"{subject}/{name}"}
        rows.append({**row, **changed, "onset": str(onset), "apex": str(apex), "offset": str(offset)})
    return write_rows(folder / "clips.csv", rows)


def laboratory(folder: Path, *, stretch: int = 5, width: int = 640, height: int = 480) -> Path:
    """Nine clips of the length and size of a laboratory's: CASME II's have 640x480 pixels and last from onset to offset
    68 frames of 200 a second on the average, the demo's 360x360 and 13 frames of 30. Returns the manifest.

    Args:
        stretch: times the frames of the demo's clips.
    """
    specs = []
    for spec in synthetic.demo_plan(subjects=3, clips_per_class=1):
        apex, offset = (spec.onset + stretch * (number - spec.onset) for number in (spec.apex, spec.offset))
        specs.append(replace(spec, apex=apex, offset=offset, frames=offset + 1))
        synthetic.render_clip(specs[-1], folder)
        for path in (folder / spec.subject / spec.clip_id).iterdir():
            face = cv2.resize(cv2.imread(str(path)), (height, height), interpolation=cv2.INTER_CUBIC)
            sides = (width - height) // 2
            frame = cv2.copyMakeBorder(face, 0, 0, sides, width - height - sides, cv2.BORDER_REPLICATE)
            path.write_bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    return synthetic.write_manifest(specs, folder)


def zipped(manifest: Path, folder: Path) -> Path:
    """The same clips, each as a zip of its folder. Returns the manifest."""
    rows = read_rows(manifest)
    for row in rows:
        shutil.make_archive(str(folder / row["path"]), "zip", manifest.parent / row["path"])
        row["path"] += ".zip"
    return write_rows(folder / "clips.csv", rows)


def damage(manifest: Path, *, each: int) -> dict[str, str | None]:
    """Damage ``each`` clips of a set in every one of `WAYS`. Returns the reason expected by clip id, None for clips
    that are unusual but sound."""
    rows = read_rows(manifest)
    step = len(rows) // (each * len(WAYS))
    expected: dict[str, str | None] = {}
    for place, (way, reason) in enumerate(list(WAYS.items()) * each):
        row = rows[place * step]
        way(manifest.parent, row)
        expected[row["clip_id"]] = reason
    write_rows(manifest, rows)
    return expected


def _frames(root: Path, row: dict[str, str]) -> list[Path]:
    """The clip's frames from onset to offset."""
    files = sorted((root / row["path"]).iterdir())
    return files[int(row["onset"]) - 1 : int(row["offset"])]


def _replace(path: Path, data: bytes) -> None:
    path.unlink()  # not the file that other clips are linked to
    path.write_bytes(data)


def _encode(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def _each(change: Callable[[np.ndarray], np.ndarray], suffix: str = ".jpg") -> Callable[[Path, dict[str, str]], None]:
    """A way that changes every frame's pixels."""

    def way(root: Path, row: dict[str, str]) -> None:
        for path in _frames(root, row):
            data = _encode(suffix, change(cv2.imread(str(path))))
            path.unlink()
            path.with_suffix(suffix).write_bytes(data)

    return way


def zero_bytes(root: Path, row: dict[str, str]) -> None:
    """A frame of no bytes."""
    _replace(_frames(root, row)[3], b"")


def truncated_jpeg(root: Path, row: dict[str, str]) -> None:
    """A frame cut in half."""
    path = _frames(root, row)[4]
    _replace(path, path.read_bytes()[: path.stat().st_size // 2])


def wrong_order(root: Path, row: dict[str, str]) -> None:
    """The frames' names dealt out anew."""
    paths = _frames(root, row)
    contents = [path.read_bytes() for path in paths]
    for path, place in zip(paths, np.random.default_rng(0).permutation(len(paths))):
        _replace(path, contents[place])


def missing_frame(root: Path, row: dict[str, str]) -> None:
    """A gap."""
    _frames(root, row)[5].unlink()


def missing_folder(root: Path, row: dict[str, str]) -> None:
    """No folder at all."""
    shutil.rmtree(root / row["path"])


def huge_dimensions(root: Path, row: dict[str, str]) -> None:
    """A JPEG that claims 65,000 pixels a side."""
    path = _frames(root, row)[0]
    data = bytearray(path.read_bytes())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = (65000).to_bytes(2, "big") * 2
    _replace(path, bytes(data))


def truncated_avi(root: Path, row: dict[str, str]) -> None:
    """The clip as a video that breaks off."""
    paths = _frames(root, row)
    video = root / f"{row['path']}.avi"
    height, width = cv2.imread(str(paths[0])).shape[:2]
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 30, (width, height))
    for path in paths:
        writer.write(cv2.imread(str(path)))
    writer.release()
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    last = int(row["offset"]) - int(row["onset"])
    apex = int(row["apex"]) - int(row["onset"])
    row.update(path=f"{row['path']}.avi", onset="0", apex=str(apex), offset=str(last))


def _noise(image: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)


def _twice(image: np.ndarray) -> np.ndarray:
    half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    both = np.concatenate([half, half[:, ::-1]], axis=1)
    return np.concatenate([both, np.full_like(both, 128)], axis=0)


no_face, two_faces = _each(_noise), _each(_twice)
sixteen_bits = _each(lambda image: image.astype(np.uint16) * 257, ".png")
grayscale = _each(lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))

WAYS: dict[Callable[[Path, dict[str, str]], None], str | None] = {
    zero_bytes: "unreadable-frame",
    truncated_jpeg: "unreadable-frame",
    wrong_order: "wrong-frame-order",
    no_face: "no-face",
    two_faces: "two-faces",
    huge_dimensions: "frame-too-large",
    sixteen_bits: "unsupported-bit-depth",
    missing_frame: "missing-frame",
    missing_folder: "missing-folder",
    truncated_avi: "missing-frame",
    grayscale: None,
}
