"""Prepared clips as Parquet shards: the schema, writing, checking, reading.

A prepared data set is a folder (on disk or in object storage):

    plan.json                    what is going to be prepared, and from which recipe and sources; written first
    <dataset>/<subject>/00000-<hash>.parquet   shards of one subject each: training reads a subject without the rest
    <dataset>/<subject>/00000-<hash>.json      a shard's receipt, written after it: with it the shard is done
    index.parquet                one row a prepared clip, without pixels
    rejects.parquet              one row a rejected clip, with its reason
    card.json                    what the set holds, how it was made; written last: without it the set is not complete

None of them depends on when, by how many workers, or in how many attempts it was made (`hsta.datasets.shard_plan`).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsta import storage
from hsta.datasets.shard_plan import SCHEMA_VERSION, ShardPlan
from hsta.datasets.shard_plan import safe_name as safe_name
from hsta.errors import InputError
from hsta.records import Clip, PreparedClip, Quality, RejectedClip

CARD_FILE = "card.json"


def _field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=name in ("fps", "annotated_apex"), metadata={"meaning": meaning})


INDEX_FIELDS = [
    _field("clip_id", pa.string(), "unique within a dataset"),
    _field("dataset", pa.string(), "data set"),
    _field("subject", pa.string(), "subject, as the data set writes it"),
    _field("recording", pa.string(), "recording the clip was cut from"),
    _field("path", pa.string(), "folder of frames or video it was read from"),
    _field("onset", pa.int64(), "frame number"),
    _field("apex", pa.int64(), "frame number used as apex"),
    _field("annotated_apex", pa.int64(), "frame number annotated as apex, null where none is"),
    _field("offset", pa.int64(), "frame number"),
    _field("fps", pa.float64(), "frames per second"),
    _field("labels", pa.map_(pa.string(), pa.string()), "label by label set"),
    _field("face_score", pa.float64(), "confidence of the face detector, 0 to 1"),
    _field("interocular_px", pa.float64(), "eye distance in the source onset frame, pixels"),
    _field("residual_motion_px", pa.float64(), "mean flow over the still part of the face, aligned pixels"),
    _field("sharpness", pa.float64(), "variance of the Laplacian of the aligned onset face"),
    _field("frames_sha256", pa.string(), "SHA-256 of the aligned frames' bytes"),
]
PIXEL_FIELDS = [
    _field("frame_numbers", pa.list_(pa.int64()), "numbers of the frames, onset to offset"),
    _field("frames", pa.large_binary(), "uint8, row-major (frames, height, width, RGB), aligned, lossless"),
    _field("frames_shape", pa.list_(pa.int64()), "(frames, height, width, 3)"),
    _field(
        "flow",
        pa.large_binary(),
        "little-endian float16, row-major (pairs, 2, height, width); pixels of the aligned face",
    ),
    _field("flow_shape", pa.list_(pa.int64()), "(pairs, 2, height, width)"),
    _field("flow_pairs", pa.list_(pa.string()), "first and second frame of each flow field"),
    _field("landmarks", pa.list_(pa.float32()), "MediaPipe face mesh of the onset frame, (468, 2), aligned pixels"),
    _field("transforms", pa.list_(pa.float64()), "(frames, 2, 3) affine maps, source to aligned pixels"),
    _field("provenance", pa.map_(pa.string(), pa.string()), "versions and hashes"),
]
INDEX_SCHEMA = pa.schema(INDEX_FIELDS, metadata={"hsta.schema": SCHEMA_VERSION})
SHARD_SCHEMA = pa.schema(
    INDEX_FIELDS + PIXEL_FIELDS, metadata={"hsta.schema": SCHEMA_VERSION, "hsta.flow_unit": "aligned pixels"}
)
REJECT_SCHEMA = pa.schema(
    [
        *(_field(name, pa.string(), "as in the manifest") for name in ("clip_id", "dataset", "subject", "path")),
        _field("onset", pa.int64(), "frame number"),
        _field("offset", pa.int64(), "frame number"),
        _field("reason", pa.string(), "short stable code, see hsta.vision.errors"),
        _field("detail", pa.string(), "names the file or the figure"),
    ],
    metadata={"hsta.schema": SCHEMA_VERSION},
)


def is_shard_file(name: str) -> bool:
    """Whether a file of a prepared set, named from its root, is a shard or a receipt."""
    return re.fullmatch(r"[^/]+/[^/]+/\d{5,}-[0-9a-f]{12}\.(parquet|json)", name) is not None


def read_receipt(root: str, plan: ShardPlan) -> dict | None:
    """The receipt of a shard that is done under this very plan, None where it has still to be made (or its receipt is
    damaged)."""
    try:
        receipt = storage.read_json(storage.join(root, plan.name + ".json"))
        return receipt if receipt["content_hash"] == plan.content_hash else None
    except (FileNotFoundError, InputError, KeyError, TypeError) as error:
        if isinstance(error, storage.Unreachable):
            raise
        return None


class ShardWriter:
    """Writes one shard: clip by clip, one row group each, into a file without a name, then whole to its place in the
    set at ``root``.

    Memory holds one clip at a time. `commit` may run in another thread, once, after the last `add`.
    """

    def __init__(self, root: str, plan: ShardPlan):
        self._root, self._plan = root, plan
        self._url = storage.join(root, plan.name + ".parquet")
        self._sink: _Hashed | None = None
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict] = []
        self._rejects: list[dict] = []

    def add(self, result: PreparedClip | RejectedClip) -> None:
        """The next clip's result, in the order of the plan. Raises ValueError for flow that is not finite."""
        if isinstance(result, RejectedClip):
            self._rejects.append(_reject_row(result))
            return
        row = to_row(result)
        if self._writer is None:
            self._sink = _Hashed(storage.scratch(self._url))
            self._writer = pq.ParquetWriter(
                self._sink,
                SHARD_SCHEMA,
                # lz4 makes frames 12 % smaller for 1.5 % of the time that preparing takes, zstd 18 % for 3 %.
                compression="none",
                use_dictionary=False,
                write_statistics=[field.name for field in INDEX_FIELDS],  # of pixels they cost as much as compression
            )
        self._writer.write_table(
            pa.Table.from_arrays([_array(field, row[field.name]) for field in SHARD_SCHEMA], schema=SHARD_SCHEMA)
        )
        plain = {name: row[name] for name in INDEX_SCHEMA.names}
        self._rows.append({**plain, "labels": [list(label) for label in row["labels"]]})

    def commit(self) -> dict:
        """Put the shard in its place, then its receipt. A shard without a prepared clip has a receipt only.

        Returns:
            the receipt: ``name, content_hash, sha256, bytes, clips`` (ids of the prepared), ``rows`` of the index,
            ``rejects``.
        """
        digest, size = None, 0
        if self._writer is not None:
            with self._sink.file as file:
                self._writer.close()
                digest, size = self._sink.digest.hexdigest(), file.tell()
                storage.upload(file, self._url)
        receipt = {
            "name": self._plan.name,
            "content_hash": self._plan.content_hash,
            "sha256": digest,
            "bytes": size,
            "clips": [row["clip_id"] for row in self._rows],
            "rows": self._rows,
            "rejects": self._rejects,
        }
        storage.write_json(storage.join(self._root, self._plan.name + ".json"), receipt)
        return receipt


def write_shard(root: str, plan: ShardPlan, results: Iterable[PreparedClip | RejectedClip]) -> dict:
    """Write a shard and its receipt (see `ShardWriter`). Returns the receipt."""
    writer = ShardWriter(root, plan)
    for result in results:
        writer.add(result)
    return writer.commit()


def check_shard(root: str, receipt: Mapping) -> str | None:
    """Read a shard again and compare it with its receipt. Returns what is wrong with it, None where nothing is."""
    if receipt["sha256"] is None:
        return None
    try:
        found = storage.sha256(storage.join(root, receipt["name"] + ".parquet"))
    except FileNotFoundError:
        return "is missing"
    return None if found == receipt["sha256"] else "is damaged: its hash differs from its receipt's"


def to_row(prepared: PreparedClip) -> dict:
    """A prepared clip as a row of `SHARD_SCHEMA`; frames and flow are arrays, not copied where they need not be."""
    clip, quality = prepared.clip, prepared.quality
    flow = prepared.flow.astype("<f2")
    if not np.isfinite(flow).all():
        raise ValueError(f"flow of clip {clip.clip_id} is not finite")
    return {
        "clip_id": clip.clip_id,
        "dataset": clip.dataset,
        "subject": clip.subject,
        "recording": clip.recording,
        "path": clip.path,
        "onset": clip.onset,
        "apex": prepared.apex,
        "annotated_apex": clip.apex,
        "offset": clip.offset,
        "fps": clip.fps,
        "labels": list(clip.labels.items()),
        **asdict(quality),
        "frames_sha256": prepared.provenance.get("frames_sha256")
        or hashlib.sha256(np.ascontiguousarray(prepared.frames)).hexdigest(),
        "frame_numbers": list(prepared.frame_numbers),
        "frames": np.ascontiguousarray(prepared.frames),
        "frames_shape": list(prepared.frames.shape),
        "flow": np.ascontiguousarray(flow),
        "flow_shape": list(flow.shape),
        "flow_pairs": list(prepared.flow_pairs),
        "landmarks": prepared.landmarks.astype(np.float32).ravel(),
        "transforms": prepared.transforms.astype(np.float64).ravel(),
        "provenance": list(prepared.provenance.items()),
    }


def from_row(row: Mapping) -> PreparedClip:
    """The inverse of `to_row`. Flow comes back as float32; arrays are read-only views where they can be."""
    return PreparedClip(
        clip=clip_from_row(row),
        apex=row["apex"],
        frame_numbers=tuple(row["frame_numbers"]),
        frames=np.frombuffer(row["frames"], np.uint8).reshape(row["frames_shape"]),
        flow=np.frombuffer(row["flow"], "<f2").reshape(row["flow_shape"]).astype(np.float32),
        flow_pairs=tuple(row["flow_pairs"]),
        landmarks=np.asarray(row["landmarks"], np.float32).reshape(-1, 2),
        transforms=np.asarray(row["transforms"], np.float64).reshape(-1, 2, 3),
        quality=Quality(**{name: row[name] for name in Quality.__dataclass_fields__}),
        provenance=dict(row["provenance"]),
    )


def clip_from_row(row: Mapping) -> Clip:
    """The annotation in a row of the index or of a shard."""
    plain = {
        name: row[name] for name in ("clip_id", "dataset", "subject", "recording", "path", "onset", "offset", "fps")
    }
    return Clip(**plain, apex=row["annotated_apex"], labels=dict(row["labels"]))


def make_card(receipts: Sequence[Mapping], facts: Mapping) -> dict:
    """The card of a set whose shards are all done: ``facts``, the shards and the rejects."""
    return {
        **facts,
        "schema": SCHEMA_VERSION,
        "prepared": sum(len(receipt["clips"]) for receipt in receipts),
        "rejects": [row for receipt in receipts for row in receipt["rejects"]],
        "shards": [{key: receipt[key] for key in ("name", "sha256", "bytes", "clips")} for receipt in receipts],
    }


def finish(root: str, receipts: Sequence[Mapping], card: Mapping) -> None:
    """Write the index, the rejects and, last, the card (`make_card`)."""
    rows = [
        {**row, "labels": [tuple(label) for label in row["labels"]]} for receipt in receipts for row in receipt["rows"]
    ]
    _write_table(storage.join(root, "index.parquet"), pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    _write_table(storage.join(root, "rejects.parquet"), pa.Table.from_pylist(card["rejects"], schema=REJECT_SCHEMA))
    storage.write_json(storage.join(root, CARD_FILE), card)


def read_card(root: str) -> dict:
    """The card of a complete prepared set. Raises InputError where there is none."""
    try:
        return storage.read_json(storage.join(root, CARD_FILE))
    except FileNotFoundError:
        raise InputError(
            "no complete prepared data set here (card.json is missing)",
            where=root,
            cure="run python -m workflows.prepare with the same configuration; it goes on where it stopped",
        ) from None


def read_index(root: str) -> pa.Table:
    """One row a prepared clip, without pixels (`INDEX_SCHEMA`)."""
    return _read_table(storage.join(root, "index.parquet"), None)


def read_prepared(root: str, card: Mapping, clip_ids: Iterable[tuple[str, str]]) -> Iterable[PreparedClip]:
    """Read some clips, keyed (dataset, clip_id), touching only their shards, in the order of the shards.

    Raises:
        InputError: a clip that is not in the set, or a shard that is missing or damaged.
    """
    wanted = set(clip_ids)
    for shard in card["shards"]:
        here = {clip_id for _, clip_id in wanted} & set(shard["clips"])
        for prepared in read_some(root, shard, here) if here else ():
            key = (prepared.clip.dataset, prepared.clip.clip_id)
            if key in wanted:
                wanted.discard(key)
                yield prepared
    if wanted:
        missing = ", ".join(sorted(clip_id for _, clip_id in wanted)[:5])
        raise InputError(f"{len(wanted)} clips are not in this set: {missing}", where=root, cure="run prepare again")


def read_some(root: str, shard: Mapping, clip_ids: Collection[str]) -> Iterator[PreparedClip]:
    """Read some clips of one shard, as the card lists it. Raises InputError where it is missing or damaged."""
    with _open_parquet(storage.join(root, shard["name"] + ".parquet")) as file:
        for group, clip_id in enumerate(shard["clips"]):
            if clip_id in clip_ids:
                yield from_row(file.read_row_group(group).to_pylist()[0])


def _reject_row(rejected: RejectedClip) -> dict:
    clip = rejected.clip
    return {
        "clip_id": clip.clip_id,
        "dataset": clip.dataset,
        "subject": clip.subject,
        "path": clip.path,
        "onset": clip.onset,
        "offset": clip.offset,
        "reason": rejected.reason,
        "detail": rejected.detail,
    }


def _open_parquet(url: str) -> pq.ParquetFile:
    try:
        fs, path = storage.filesystem(url)
        return pq.ParquetFile(fs.open(path, "rb"), pre_buffer=False)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise InputError(
            f"the shard is missing or damaged: {error}", where=url, cure="delete its .json and run prepare"
        ) from error


def _read_table(url: str, columns: list[str] | None) -> pa.Table:
    with _open_parquet(url) as file:
        return file.read(columns=columns)


def _write_table(url: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    storage.write_bytes(url, sink.getvalue())


def _array(field: pa.Field, value: object) -> pa.Array:
    """One value as a column; the bytes of pixels are not copied."""
    if field.type != pa.large_binary():
        return pa.array([value], field.type)
    offsets = np.array([0, value.nbytes], np.int64)
    return pa.Array.from_buffers(field.type, 1, [None, pa.py_buffer(offsets), pa.py_buffer(value)])


class _Hashed:
    """A file for writing that takes the SHA-256 of what passes."""

    closed = False

    def __init__(self, file: BinaryIO):
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.file.write(data)

    def flush(self) -> None:
        self.file.flush()
