"""If these fail, clips lose their face, or the wrong one is aligned."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import hsta.vision.models as models
from hsta.errors import InputError
from hsta.vision.align import eye_template, similarity_from_eyes, transform_points, warp
from hsta.vision.errors import ClipError
from hsta.vision.faces import eye_centres
from hsta.vision.frames import decode_frames, read_clip


@pytest.fixture(scope="module")
def known_mesh():
    import hsta.datasets

    path = Path(hsta.datasets.__file__).parent / "assets" / "astronaut_mesh.csv"
    return np.loadtxt(path, delimiter=",", skiprows=1)[:, :2]


def error(found, expected):
    """Mean distance of points, part of the eye distance."""
    return np.hypot(*(found[:, :2] - expected).T).mean() / np.hypot(*np.diff(eye_centres(expected), axis=0)[0])


def test_the_portrait_has_the_mesh_that_the_demo_clips_are_made_from(finder, portrait, known_mesh):
    face = finder.only_face(portrait)
    assert error(face.mesh, known_mesh) < 0.005
    assert face.score > 0.8 and face.presence > 0.9 and face.interocular == pytest.approx(43.5, abs=0.5)
    assert np.hypot(*(face.keypoints[:2] - face.eye_centres).T).max() < 0.15 * face.interocular
    assert face.eye_centres[0, 0] < face.eye_centres[1, 0]


@pytest.mark.parametrize(
    ("scale", "degrees"), [(0.5, 0), (2.5, 0), (1, 20), (1, -20)], ids=["half", "larger", "left", "right"]
)
def test_the_mesh_follows_size_and_rotation(finder, portrait, known_mesh, scale, degrees):
    turn = cv2.getRotationMatrix2D((224, 110), degrees, scale)
    turn[:, 2] += np.array([260, 200]) - [224, 110]
    image = cv2.warpAffine(portrait, turn, (520, 400), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    moved = known_mesh @ turn[:, :2].T + turn[:, 2]
    assert error(finder.only_face(image).mesh, moved) < 0.04


def test_a_small_face_in_a_large_image_is_found(finder, portrait, known_mesh):
    image = np.full((720, 1280, 3), 180, np.uint8)
    image[420:676, 900:1156] = cv2.resize(portrait, (256, 256), interpolation=cv2.INTER_AREA)
    assert error(finder.only_face(image).mesh, (known_mesh + 0.5) / 2 - 0.5 + [900, 420]) < 0.06


@pytest.mark.parametrize("image", ["black", "noise", "wall"])
def test_no_face(finder, portrait, image):
    pictures = {
        "black": np.zeros((200, 300, 3), np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8),
        "wall": portrait[300:, :300],
    }
    with pytest.raises(ClipError) as caught:
        finder.only_face(pictures[image])
    assert caught.value.reason == "no-face"


@pytest.mark.parametrize("part", [0.5, 0.55])
def test_a_face_that_fills_the_image_is_found_with_a_margin(finder, portrait, known_mesh, part):
    crop = similarity_from_eyes(eye_centres(known_mesh), eye_template(112, part, 0.3))
    face = finder.only_face(warp(portrait, crop, 112), margin=0.25)
    assert error(face.mesh, transform_points(crop, known_mesh)) < 0.05


def test_two_faces_of_similar_size_are_ambiguous_and_a_much_smaller_one_is_not(finder, portrait):
    head = portrait[0:230, 110:350]
    with pytest.raises(ClipError) as caught:
        finder.only_face(np.concatenate([head, head[:, ::-1]], axis=1))
    assert caught.value.reason == "two-faces"
    small = np.full_like(head, 128)
    small[100:200, 60:164] = cv2.resize(head, (104, 100), interpolation=cv2.INTER_AREA)
    face = finder.only_face(np.concatenate([head, small], axis=1))
    assert face.mesh[:, 0].max() < 240


def test_a_face_in_every_sampled_frame_of_real_videos(finder, sample_video):
    frames = {"cap13_edit2.mp4": 765, "carphone_pristine.mp4": 120}[sample_video.name]
    for number, image in decode_frames(read_clip(str(sample_video), 0, frames - 1)):
        if number % 15 == 0:
            face = finder.only_face(image)
            assert face.score > 0.7 and face.presence > 0.9, number


def test_a_finder_is_made_in_each_process(finder):
    with pytest.raises(TypeError, match="each process"):
        pickle.dumps(finder)


def test_changed_or_missing_models_are_refused(tmp_path):
    name = "face_landmark.tflite"
    with pytest.raises(InputError, match="missing"):
        models.model_bytes(name, tmp_path)
    shutil.copy(Path(models.__file__).parent / name, tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[5000] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        models.model_bytes(name, tmp_path)
