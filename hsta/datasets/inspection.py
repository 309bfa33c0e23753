"""What a copy of a data set holds, in figures: counts beside the known release, gaps, overlaps, duplicates, usable
protocols."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np

from hsta import storage
from hsta.datasets.labels import LABEL_SETS
from hsta.datasets.listing import frame_number
from hsta.datasets.manifest import is_video
from hsta.datasets.reading import Reading
from hsta.datasets.releases import annotated, compare
from hsta.errors import InputError
from hsta.records import Clip

SCHEMA_VERSION = 1
_PROTOCOLS = ("loso", "subject-kfold-5", "lodo", "paper-5fold-subject-dependent")
_SIDE = 32  # of the pictures that are compared, pixels
_ALIKE = 1.5  # mean difference of two such pictures, grey levels, below which they count as one picture saved twice
_MAX_PIXELS = 40_000_000


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """A clip's onset frame: what its file says of itself, or the problem with it."""

    clip: Clip
    file: str
    problem: str = ""
    size: str = ""
    sha256: str = ""
    thumbnail: np.ndarray | None = None


def inspect_reading(reading: Reading, *, label_set: str = "", sample: int = 200) -> dict:
    """Everything that `workflows.inspect` reports, as JSON.

    Args:
        label_set: whose protocols are tried; "" takes the one that most clips have a label in.
        sample: number of clips, spread evenly, whose onset frame is read; 0 reads none.

    Raises:
        InputError: no clip has a label in ``label_set``.
    """
    clips = reading.clips
    sets = sorted({name for one in (*clips, *reading.exclusions) for name in one.labels}, key=_order_of_sets)
    used = label_set or max(sets, key=lambda name: sum(name in clip.labels for clip in clips), default="")
    if label_set and not any(label_set in clip.labels for clip in clips):
        raise InputError(
            f"no clip has a label in '{label_set}'", where="--label-set", cure=f"choose of {', '.join(sets) or 'none'}"
        )
    has_frames = "root" in reading.facts or any("://" in clip.path or clip.path.startswith("/") for clip in clips)
    frames = sample_frames(clips, sample) if has_frames else []
    known = compare(reading)
    lengths = [clip.offset - clip.onset + 1 for clip in clips]
    return {
        "schema": SCHEMA_VERSION,
        "dataset": reading.name,
        "facts": {
            key: value if isinstance(value, int | float | list) else str(value) for key, value in reading.facts.items()
        },
        "clips": len(clips),
        "subjects": len({(clip.dataset, clip.subject) for clip in clips}),
        "recordings": len({(clip.dataset, clip.recording) for clip in clips}),
        "frames_a_clip": {"least": min(lengths), "median": median(lengths), "most": max(lengths)} if lengths else None,
        "frame_rates": {str(rate): count for rate, count in sorted(Counter(str(clip.fps) for clip in clips).items())},
        "label_sets": {name: _classes(reading, name) for name in sets},
        "label_set": used,
        "known_release": None if known is None else asdict(known),
        "exclusions": [
            {"clip_id": one.clip_id, "reason": one.reason, "detail": one.detail} for one in reading.exclusions
        ],
        "exclusions_by_reason": dict(Counter(one.reason for one in reading.exclusions).most_common()),
        "remarks": [asdict(one) for one in reading.remarks],
        "remarks_by_code": dict(Counter(one.code for one in reading.remarks).most_common()),
        "corrections": [asdict(one) for one in reading.corrections],
        "folders_without_row": list(reading.unclaimed),
        "overlaps": overlaps(clips),
        "sample": _sample_facts(frames),
        "protocols": usable_protocols(reading, used) if used else [],
    }


def overlaps(clips: Sequence[Clip]) -> list[dict]:
    """Pairs of clips of one recording with frames in common: ``recording, clips, first, last``."""
    by_recording: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        by_recording[clip.dataset, clip.recording].append(clip)
    found = []
    for (dataset, recording), members in sorted(by_recording.items()):
        ordered = sorted(members, key=lambda clip: (clip.onset, clip.offset))
        for place, first in enumerate(ordered):
            for second in ordered[place + 1 :]:
                if second.onset > first.offset:
                    break
                pair = [first.clip_id, second.clip_id]
                span = {"first": second.onset, "last": min(first.offset, second.offset)}
                found.append({"recording": f"{dataset}/{recording}", "clips": pair, **span})
    return found


def sample_frames(clips: Sequence[Clip], count: int) -> list[SampledFrame]:
    """Read the onset frames of up to ``count`` clips, spread evenly over the set; videos are left out."""
    folders = [clip for clip in clips if clip.onset < clip.offset and not is_video(clip.path)]
    places = (
        sorted({int(place) for place in np.linspace(0, len(folders) - 1, min(count, len(folders)))})
        if folders and count
        else []
    )
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(_sampled, (folders[place] for place in places)))


def usable_protocols(reading: Reading, label_set: str) -> list[dict]:
    """``name, usable, why`` for each protocol over the clips that have a label in ``label_set``."""
    from hsta.evaluation.audit import audit
    from hsta.evaluation.splits import MEGC2019_CLIPS, clip_key, make_split

    clips = [clip for clip in reading.clips if label_set in clip.labels]
    composite = (
        {"megc2019-cde": {"organisers_list": [clip_key(clip) for clip in clips]}} if reading.name == "megc2019" else {}
    )
    tried = []
    for protocol in (*composite, *_PROTOCOLS):
        try:
            split = make_split(clips, protocol, label_set=label_set, **composite.get(protocol, {}))
            report = audit(split, clips)
            why = f"{len(split.folds)} folds over {len(clips)} clips" if report.passed else report.findings[0].message
            tried.append({"name": protocol, "usable": report.passed, "why": why})
        except InputError as error:
            tried.append({"name": protocol, "usable": False, "why": error.problem})
    if not composite:
        why = f"it is the {MEGC2019_CLIPS} clips of the organisers' list: read megc2019"
        tried.append({"name": "megc2019-cde", "usable": False, "why": why})
    return tried


def _order_of_sets(name: str) -> tuple[int, str]:
    known = list(LABEL_SETS)
    return (known.index(name) if name in known else len(known), name)


def _classes(reading: Reading, label_set: str) -> dict[str, dict[str, int]]:
    usable = Counter(clip.labels[label_set] for clip in reading.clips if label_set in clip.labels)
    rows = annotated(reading, label_set)
    names = [*LABEL_SETS.get(label_set, ()), *sorted(set(rows) - set(LABEL_SETS.get(label_set, ())))]
    return {name: {"annotated": rows[name], "usable": usable[name]} for name in names}


def _sampled(clip: Clip) -> SampledFrame:
    from hsta.vision.image_header import DamagedImage, read_header

    try:
        fs, folder = storage.filesystem(clip.path)
        name = next((name for name in fs.ls(folder, detail=False) if frame_number(name) == clip.onset), None)
        if name is None:
            return SampledFrame(clip, clip.path, problem=f"frame {clip.onset} is not there")
        data = fs.cat_file(name)
    except OSError as error:
        return SampledFrame(clip, clip.path, problem=f"cannot be read: {error}")
    try:
        header = read_header(data)
    except DamagedImage as error:
        return SampledFrame(clip, name, problem=str(error))
    channels = f"{header.channels} channel{'s' if header.channels > 1 else ''}"
    size = f"{header.width} x {header.height}, {channels}, {header.bits} bits"
    thumbnail = _thumbnail(data) if header.width * header.height <= _MAX_PIXELS else None
    problem = "" if thumbnail is not None else "cannot be decoded"
    return SampledFrame(clip, name, problem, size, hashlib.sha256(data).hexdigest(), thumbnail)


def _thumbnail(data: bytes) -> np.ndarray | None:
    import cv2

    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return (
        None
        if picture is None
        else cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    )


def _sample_facts(frames: Sequence[SampledFrame]) -> dict:
    readable = [frame for frame in frames if frame.thumbnail is not None]
    return {
        "clips": len(frames),
        "sizes": dict(Counter(frame.size for frame in frames if frame.size).most_common()),
        "problems": [
            {"clip_id": frame.clip.clip_id, "file": frame.file, "problem": frame.problem}
            for frame in frames
            if frame.problem
        ],
        "duplicates": _duplicates(readable),
        "near_duplicates": _near_duplicates(readable),
    }


def _duplicates(frames: Sequence[SampledFrame]) -> list[list[str]]:
    """Clips whose onset frames are the very same bytes in different files."""
    groups: Mapping[str, dict[str, str]] = defaultdict(dict)
    for frame in frames:
        groups[frame.sha256].setdefault(frame.file, f"{frame.clip.dataset}/{frame.clip.clip_id}")
    return [sorted(files.values()) for files in groups.values() if len(files) > 1]


def _near_duplicates(frames: Sequence[SampledFrame]) -> list[dict]:
    """Onset frames of different subjects that look like one picture saved twice, though their bytes differ."""
    found = []
    for place, first in enumerate(frames):
        rest = frames[place + 1 :]
        if not rest:
            break
        distances = np.abs(np.stack([other.thumbnail for other in rest]) - first.thumbnail).mean(axis=1)
        for other, distance in zip(rest, distances.tolist(), strict=True):
            apart = (first.clip.dataset, first.clip.subject) != (other.clip.dataset, other.clip.subject)
            if apart and distance < _ALIKE and first.sha256 != other.sha256:
                clips = [f"{one.clip.dataset}/{one.clip.clip_id}" for one in (first, other)]
                found.append({"clips": clips, "mean_difference": round(distance, 3)})
    return found
