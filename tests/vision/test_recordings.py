"""Recordings. If these fail, a long recording is decoded once for each of its clips, or a clip gets another one's
frames."""

import cv2
import numpy as np
import pytest

from hsta.vision import recordings
from hsta.vision.errors import ClipError
from hsta.vision.frames import ClipReader, decode_frames, read_clip

BITS = 16


def picture(number: int, size: int = 64) -> np.ndarray:
    """A picture that shows its number as stripes."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    return np.repeat(np.array(bits, np.uint8) * 200 + 25, size // BITS)[None, :, None].repeat(size, 0).repeat(3, 2)


def number_of(frame: np.ndarray) -> int:
    columns = frame[frame.shape[0] // 2, :, 0].reshape(BITS, -1).mean(axis=1) > 125
    return sum(int(bit) << place for place, bit in enumerate(columns))


def write_video(path, frames: int, codec: str = "MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 30, (64, 64))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    return str(path)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "long.avi", 1000)


def read_all(reader, spans):
    for path, onset, offset in spans:
        frames = list(decode_frames(reader.read(path, onset, offset)))
        assert [index for index, _ in frames] == list(range(onset, offset + 1))
        assert [number_of(frame) for _, frame in frames] == list(range(onset, offset + 1))


def test_fifty_clips_of_a_recording_of_20_000_frames_decode_it_once(tmp_path):
    path = write_video(tmp_path / "long.avi", 20_000)
    spans = [(path, 399 * clip, 399 * clip + 12) for clip in range(50)]
    spans += [(path, 4000, 4020)]
    reader = ClipReader(spans)
    read_all(reader, sorted(spans, key=lambda span: span[1]))
    assert reader.decoded == 399 * 49 + 13  # up to the last frame wanted, and not beyond it


@pytest.mark.parametrize("codec", ["mp4v", "XVID"])
def test_frames_between_key_frames_are_the_right_ones(tmp_path, codec):
    path = write_video(tmp_path / ("a.mp4" if codec == "mp4v" else "a.avi"), 200, codec)
    spans = [(path, 37, 45), (path, 41, 60), (path, 150, 160)]
    read_all(ClipReader(spans), spans)


def test_overlapping_and_nested_intervals_share_their_frames(video):
    spans = [(video, 10, 60), (video, 20, 30), (video, 25, 80), (video, 79, 90)]
    reader = ClipReader(spans)
    read_all(reader, spans)
    assert reader.decoded == 91


def test_an_interval_given_up_early_does_not_disturb_the_next(video):
    spans = [(video, 10, 60), (video, 20, 30)]
    reader = ClipReader(spans)
    index, _ = next(decode_frames(reader.read(*spans[0])))
    assert index == 10
    read_all(reader, spans[1:])
    assert reader.decoded == 31


def test_intervals_out_of_order_or_beyond_memory_are_still_right(video, monkeypatch):
    spans = [(video, 500, 510), (video, 10, 20)]
    read_all(ClipReader(spans), spans)
    monkeypatch.setattr(recordings, "KEEP_BYTES", 5 * 64 * 64 * 3)
    spans = [(video, 10, 60), (video, 20, 30)]
    reader = ClipReader(spans)
    read_all(reader, spans)
    assert 61 < reader.decoded <= 61 + 31


def test_a_truncated_avi_loses_only_the_clips_beyond_its_end(tmp_path, video):
    data = open(video, "rb").read()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) // 2])
    reader = ClipReader([(str(cut), 10, 20), (str(cut), 900, 910)])
    read_all(reader, [(str(cut), 10, 20)])
    with pytest.raises(ClipError) as caught:
        list(decode_frames(reader.read(str(cut), 900, 910)))
    assert caught.value.reason == "missing-frame"


def test_what_is_no_video_is_said(tmp_path):
    (tmp_path / "a.avi").write_bytes(b"")
    with pytest.raises(ClipError) as caught:
        list(decode_frames(read_clip(str(tmp_path / "a.avi"), 0, 3)))
    assert caught.value.reason == "unreadable-video"
    with pytest.raises(ClipError) as caught:
        read_clip(str(tmp_path / "none.avi"), 0, 3)
    assert caught.value.reason == "missing-folder"
