"""The generic manifest: one row a clip, CSV or Parquet, for users' own videos, for the demo, and from a reading to
`prepare`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hsta import storage
from hsta.datasets.labels import label_classes
from hsta.datasets.reading import Collector, Reading
from hsta.datasets.tables import as_text
from hsta.errors import InputError
from hsta.records import Clip

REQUIRED = ("clip_id", "subject", "path", "onset", "offset", "label")
OPTIONAL = ("recording", "apex", "fps", "dataset")
COLUMNS = ("clip_id", "dataset", "subject", "recording", "path", "onset", "apex", "offset", "fps", "label")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_MAX_PARQUET_BYTES = 512_000_000  # unpacked; ten million rows
_Rows = Iterator[tuple[int, dict[str, str]]]


def read_manifest(url: str, *, dataset: str, label_set: str, classes: Sequence[str]) -> tuple[Clip, ...]:
    """Read a manifest. No pixel is read and nothing is repaired: the first row that cannot be meant is an error.

    Columns: ``clip_id, subject, path, onset, offset, label`` and, if there, ``recording, apex, fps, dataset``. ``path``
    is a folder of frames or a video, relative to the manifest's folder, or an absolute path or URL. ``onset``, ``apex``
    and ``offset`` are frame numbers as in the file names (folders) or indices from 0 (videos), inclusive; an empty
    ``apex`` means that none is annotated. Without a ``recording`` a clip is a recording of its own.

    Args:
        url: a CSV file, UTF-8, or a Parquet file.
        dataset: name of the data set where the manifest has no such column.
        label_set, classes: name and classes of the label set that column ``label`` belongs to.

    Returns:
        the clips in the order of the rows: row k of the file (the header is row 1) is clip k - 2.

    Raises:
        InputError: missing file or column, duplicate clip id, wrong number, apex outside onset..offset, unknown label,
            a path that climbs out of its folder.
    """
    folder = url.rsplit("/", 1)[0] if "/" in url else "."
    clips = _read_clips(url, dataset, label_set, classes)
    return tuple(replace(clip, path=_resolved(clip.path, folder)) for clip in clips)


def read_any_manifest(
    annotations: str | None,
    root: str | None,
    *,
    dataset: str = "manifest",
    label_set: str = "",
    classes: Sequence[str] = (),
    apex: str = "annotated",
) -> Reading:
    """Read a manifest as a data set, under `hsta.datasets.read`'s form.

    Args:
        root: folder that the paths are relative to, in place of the manifest's own; nothing outside it is accepted, and
            folders of frames are looked up there.
        dataset: name of the data set where the manifest has no such column.
        label_set, classes: of column ``label``; without them labels are kept as written, under "label".
    """
    if annotations is None:
        raise InputError("a manifest is needed", where="annotations", cure="give a CSV or Parquet file")
    known = label_classes(label_set, classes) if label_set else ()
    clips = _read_clips(annotations, dataset, label_set or "label", known)
    if root is not None:
        outside = [clip for clip in clips if "://" in clip.path or os.path.isabs(clip.path)]
        if outside:
            raise InputError(
                f"path {outside[0].path!r} of clip '{outside[0].clip_id}' is not below root",
                where=annotations,
                cure="write paths relative to root, or leave root out",
            )
    else:
        folder = annotations.rsplit("/", 1)[0] if "/" in annotations else "."
        clips = tuple(replace(clip, path=_resolved(clip.path, folder)) for clip in clips)
    framed = root is not None and not all(is_video(clip.path) for clip in clips)
    collectors: dict[str, Collector] = {}
    shared = None
    whole: list[Clip] = []
    for row, clip in enumerate(clips, start=2):
        if root is not None and is_video(clip.path):
            whole.append(replace(clip, path=storage.join(storage.absolute(root), clip.path)))
            continue
        if clip.dataset not in collectors:
            collectors[clip.dataset] = Collector(
                "manifest", clip.dataset, (shared or root) if framed else None, apex=apex, exact=True
            )
            shared = collectors[clip.dataset].listing
        parts = [part for part in clip.path.split("/") if part != "."]
        collectors[clip.dataset].add(
            clip_id=clip.clip_id,
            subject=clip.subject,
            recording=clip.recording,
            folders=[parts],
            where=f"{annotations}, row {row}",
            onset=clip.onset,
            apex=clip.apex,
            offset=clip.offset,
            fps=clip.fps,
            labels=clip.labels,
        )
    readings = [collector.reading(annotations) for collector in collectors.values()]
    claimed = set().union(*(collector.claimed for collector in collectors.values()))
    unclaimed = (
        () if shared is None else tuple(shared.url(one) for one in shared.folders.values() if one.path not in claimed)
    )
    order = {(clip.dataset, clip.clip_id): number for number, clip in enumerate(clips)}
    found = [clip for reading in readings for clip in reading.clips] + whole
    return Reading(
        name="manifest",
        clips=tuple(sorted(found, key=lambda clip: order[clip.dataset, clip.clip_id])),
        exclusions=tuple(one for reading in readings for one in reading.exclusions),
        remarks=tuple(one for reading in readings for one in reading.remarks),
        facts={"annotations": annotations, "apex": apex, "rows": len(clips), "label_set": label_set or "label"},
        unclaimed=unclaimed,
    )


def write_manifest(url: str, clips: Sequence[Clip], *, label_set: str) -> int:
    """Write the clips that have a label in ``label_set`` as a manifest that `read_manifest` reads. Returns their
    number.

    Raises:
        InputError: a clip whose path is relative (it was read without a root) or that has no interval, or no clip at
            all.
    """
    labelled = [clip for clip in clips if label_set in clip.labels]
    if not labelled:
        sets = sorted({name for clip in clips for name in clip.labels})
        raise InputError(
            f"no clip has a label in '{label_set}'", where=url, cure=f"choose of {', '.join(sets) or 'none'}"
        )
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(COLUMNS)
    for clip in labelled:
        if not ("://" in clip.path or os.path.isabs(clip.path)) or clip.onset >= clip.offset:
            raise InputError(
                f"clip '{clip.clip_id}' has no frames to read", where=url, cure="read the data set with its root"
            )
        values = {name: getattr(clip, name) for name in COLUMNS if name != "label"} | {"label": clip.labels[label_set]}
        writer.writerow(["" if values[name] is None else values[name] for name in COLUMNS])
    storage.write_bytes(url, sink.getvalue().encode())
    return len(labelled)


def _read_clips(url: str, dataset: str, label_set: str, classes: Sequence[str]) -> tuple[Clip, ...]:
    """Clips with their paths as written. Without ``classes`` any label will do."""
    try:
        data = storage.read_bytes(url)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(
            "the manifest is not there", where=url, cure="check data.manifest; make demo writes one"
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(f"cannot be read: {error}", where=url, cure="check the path and the access rights") from None
    columns, rows = _parquet_rows(data, url) if data[:4] == b"PAR1" else _csv_rows(data, url)
    _check_columns(columns, url)
    clips, seen = [], {}
    for number, row in rows:
        where = f"{url}, row {number}"
        clip = _clip(row, where, dataset, label_set, classes)
        key = (clip.dataset, clip.clip_id)
        if key in seen:
            raise InputError(
                f"clip id '{clip.clip_id}' is already in row {seen[key]}",
                where=where,
                cure="give every clip an id of its own",
            )
        seen[key] = number
        clips.append(clip)
    if not clips:
        raise InputError("the manifest has no clip", where=url, cure="add one row for each clip")
    return tuple(clips)


def _csv_rows(data: bytes, url: str) -> tuple[Sequence[str], _Rows]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8: {error}", where=url, cure="save the manifest as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)

    def broken(error: csv.Error) -> InputError:
        return InputError(
            f"is not a readable CSV: {error}", where=f"{url}, row {reader.line_num}", cure="check the quotes"
        )

    def rows() -> _Rows:
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise broken(error) from None

    try:
        return reader.fieldnames or [], rows()
    except csv.Error as error:
        raise broken(error) from None


def _parquet_rows(data: bytes, url: str) -> tuple[Sequence[str], _Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
        if size > _MAX_PARQUET_BYTES:
            raise InputError(
                f"unpacks to {size:,} bytes", where=url, cure=f"a manifest has at most {_MAX_PARQUET_BYTES:,}"
            )
        columns = file.schema_arrow.names
        batches = [batch.to_pylist() for batch in file.iter_batches()]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"is not a readable Parquet file: {error}", where=url, cure="write it again") from None
    rows = (row for batch in batches for row in batch)
    return columns, (
        (number, {key: as_text(cell) for key, cell in row.items()}) for number, row in enumerate(rows, start=2)
    )


def _check_columns(columns: Sequence[str], url: str) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise InputError(
            f"missing column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"found {', '.join(columns) or 'none'}",
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


def _clip(row: dict, where: str, dataset: str, label_set: str, classes: Sequence[str]) -> Clip:
    if None in row or None in row.values():
        raise InputError(
            "has more or fewer cells than the header", where=where, cure="one cell for each column; quote commas"
        )
    values = {name: cell.strip() for name, cell in row.items()}
    for name in ("clip_id", "subject", "path", "label"):
        if not values[name]:
            raise InputError(f"column {name} is empty", where=where, cure=f"give every clip a {name}")
    if ".." in values["path"].replace("\\", "/").split("/") or not values["path"].isprintable():
        raise InputError(
            f"path {values['path'][:200]!r} climbs out of its folder or holds a character that no path has",
            where=where,
            cure="a path below the manifest's folder, an absolute path or a URL",
        )
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
    if classes and values["label"] not in classes:
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
            raise InputError(
                f"fps '{values['fps']}' is not a frame rate", where=where, cure="frames per second, or empty"
            )
    return Clip(
        clip_id=values["clip_id"],
        dataset=values.get("dataset") or dataset,
        subject=values["subject"],
        recording=values.get("recording") or values["clip_id"],
        path=values["path"],
        onset=onset,
        apex=apex,
        offset=offset,
        fps=fps,
        labels={label_set: values["label"]},
    )


def _frame(values: dict[str, str], name: str, where: str) -> int:
    if not (values[name].isascii() and values[name].isdigit() and len(values[name]) <= 12):
        raise InputError(f"{name} '{values[name]}' is not a frame number", where=where, cure="whole numbers from 0")
    return int(values[name])


def _resolved(path: str, folder: str) -> str:
    """A path as written, taken from ``folder`` where it is relative."""
    return path if "://" in path or os.path.isabs(path) else storage.absolute(storage.join(folder, path))


def is_video(path: str) -> bool:
    """Whether a path names a video file, by its suffix."""
    return path.lower().endswith(VIDEO_SUFFIXES)
