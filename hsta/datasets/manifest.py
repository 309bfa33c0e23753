"""The generic manifest: one CSV row a clip, for users' own videos and for the demo."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from hsta import storage
from hsta.errors import InputError
from hsta.records import Clip

REQUIRED = ("clip_id", "subject", "path", "onset", "offset", "label")
OPTIONAL = ("recording", "apex", "fps", "dataset")


def read_manifest(url: str, *, dataset: str, label_set: str, classes: Sequence[str]) -> tuple[Clip, ...]:
    """Read a manifest. No pixel is read and nothing is repaired: the first row that cannot be meant is an error.

    Columns: ``clip_id, subject, path, onset, offset, label`` and, if there, ``recording, apex, fps, dataset``. ``path`` is a
    folder of frames or a video, relative to the manifest's folder, or an absolute path or URL. ``onset``, ``apex`` and
    ``offset`` are frame numbers as in the file names (folders) or indices from 0 (videos), inclusive; an empty ``apex`` means
    that none is annotated. Without a ``recording`` a clip is a recording of its own.

    Args:
        url: the CSV file, UTF-8.
        dataset: name of the data set where the manifest has no such column.
        label_set, classes: name and classes of the label set that column ``label`` belongs to.

    Returns:
        the clips in the order of the rows: row k of the file (the header is row 1) is clip k - 2.

    Raises:
        InputError: missing file or column, duplicate clip id, wrong number, apex outside onset..offset, unknown label.
    """
    try:
        text = storage.read_bytes(url).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError("the manifest is not there", where=url, cure="check data.manifest; make demo writes one") from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8: {error}", where=url, cure="save the manifest as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or []
        missing = [name for name in REQUIRED if name not in columns]
        if missing:
            raise InputError(
                f"missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; found {', '.join(columns) or 'none'}",
                where=f"{url}, row 1",
                cure=f"the manifest needs {', '.join(REQUIRED)}; {', '.join(OPTIONAL)} are optional",
            )
        unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
        if unknown:
            raise InputError(
                f"unknown column{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}",
                where=f"{url}, row 1",
                cure=f"remove or rename; known are {', '.join(REQUIRED + OPTIONAL)}",
            )
        clips, seen = [], {}
        for row in reader:
            where = f"{url}, row {reader.line_num}"
            clip = _clip(row, where, url, dataset, label_set, classes)
            key = (clip.dataset, clip.clip_id)
            if key in seen:
                raise InputError(
                    f"clip id '{clip.clip_id}' is already in row {seen[key]}", where=where, cure="give every clip an id of its own"
                )
            seen[key] = reader.line_num
            clips.append(clip)
    except csv.Error as error:
        raise InputError(f"is not a readable CSV: {error}", where=f"{url}, row {reader.line_num}", cure="check the quotes") from None
    if not clips:
        raise InputError("the manifest has no clip", where=url, cure="add one row for each clip")
    return tuple(clips)


def _clip(row: dict, where: str, url: str, dataset: str, label_set: str, classes: Sequence[str]) -> Clip:
    if None in row or None in row.values():
        raise InputError("has more or fewer cells than the header", where=where, cure="one cell for each column; quote commas")
    values = {name: cell.strip() for name, cell in row.items()}
    for name in ("clip_id", "subject", "path", "label"):
        if not values[name]:
            raise InputError(f"column {name} is empty", where=where, cure=f"give every clip a {name}")
    onset, offset = _frame(values, "onset", where), _frame(values, "offset", where)
    apex = _frame(values, "apex", where) if values.get("apex") else None
    if not onset < offset:
        raise InputError(f"onset {onset} is not before offset {offset}", where=where, cure="correct the annotation")
    if apex is not None and not onset <= apex <= offset:
        raise InputError(
            f"apex {apex} of clip '{values['clip_id']}' is outside onset..offset ({onset}..{offset})",
            where=where,
            cure="correct the annotation, or leave apex empty where none is known",
        )
    if values["label"] not in classes:
        raise InputError(
            f"unknown label '{values['label']}'; label set '{label_set}' has {', '.join(classes)}",
            where=where,
            cure="correct the label, or choose another data.label_set",
        )
    fps = None
    if values.get("fps"):
        try:
            fps = float(values["fps"])
        except ValueError:
            fps = 0.0
        if not 0 < fps < 100_000:
            raise InputError(f"fps '{values['fps']}' is not a frame rate", where=where, cure="frames per second, or empty")
    return Clip(
        clip_id=values["clip_id"],
        dataset=values.get("dataset") or dataset,
        subject=values["subject"],
        recording=values.get("recording") or values["clip_id"],
        path=_resolve(values["path"], url),
        onset=onset,
        apex=apex,
        offset=offset,
        fps=fps,
        labels={label_set: values["label"]},
    )


def _frame(values: dict[str, str], name: str, where: str) -> int:
    if not (values[name].isascii() and values[name].isdigit()):
        raise InputError(f"{name} '{values[name]}' is not a frame number", where=where, cure="whole numbers from 0")
    return int(values[name])


def _resolve(path: str, manifest_url: str) -> str:
    if "://" in path or os.path.isabs(path):
        return path
    folder = manifest_url.rsplit("/", 1)[0] if "/" in manifest_url else "."
    return storage.absolute(storage.join(folder, path))
