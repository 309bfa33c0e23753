"""The vendored networks: MediaPipe's face detector (short range) and face mesh, TFLite, Apache-2.0. See README.md."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hsta.errors import InputError

MODEL_SHA256: dict[str, str] = {
    "face_detection_short_range.tflite": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def model_bytes(name: str, folder: Path = Path(__file__).parent) -> bytes:
    """The content of model file ``name``. Raises InputError when it is missing or its SHA-256 is not the known one."""
    path = folder / name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "a model file of the package is missing", where=str(path), cure="install the package again"
        ) from None
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256[name]:
        raise InputError(
            "the model file has been changed: its SHA-256 is not the known one",
            where=str(path),
            cure="restore it from the repository",
        )
    return content
