"""Prepared clips as Parquet shards: the plan, the schema, writing, reading.

A prepared data set is a folder (on disk or in object storage):

    card.json                    what it holds, how it was made, its shards; written last: without it the set is not complete
    index.parquet                one row a prepared clip, without pixels
    rejects.parquet              one row a rejected clip, with its reason
    <dataset>/<subject>/00000.parquet   shards of one subject each, so that training reads a subject without touching the rest
    <dataset>/<subject>/00000.json      a shard's receipt, written after it: with it the shard is done and never made again

A shard's name and content follow from the manifest and the recipe alone, not from the number of workers or their timing.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsta import storage
from hsta.errors import InputError
from hsta.records import Clip, PreparedClip, Quality, RejectedClip

SCHEMA_VERSION = "1"


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
    _field("flow", pa.large_binary(), "little-endian float16, row-major (pairs, 2, height, width); pixels of the aligned face"),
    _field("flow_shape", pa.list_(pa.int64()), "(pairs, 2, height, width)"),
    _field("flow_pairs", pa.list_(pa.string()), "first and second frame of each flow field"),
    _field("landmarks", pa.list_(pa.float32()), "MediaPipe face mesh of the onset frame, (468, 2), aligned pixels"),
    _field("transforms", pa.list_(pa.float64()), "(frames, 2, 3) affine maps, source to aligned pixels"),
    _field("provenance", pa.map_(pa.string(), pa.string()), "versions and hashes"),
]
INDEX_SCHEMA = pa.schema(INDEX_FIELDS, metadata={"hsta.schema": SCHEMA_VERSION})
SHARD_SCHEMA = pa.schema(INDEX_FIELDS + PIXEL_FIELDS, metadata={"hsta.schema": SCHEMA_VERSION, "hsta.flow_unit": "aligned pixels"})
REJECT_SCHEMA = pa.schema(
    [_field(name, pa.string(), "") for name in ("clip_id", "dataset", "subject", "path", "reason", "detail")],
    metadata={"hsta.schema": SCHEMA_VERSION},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One shard to make: its place under the prepared set, its clips, and a hash of all that its content follows from."""

    name: str
    clips: tuple[Clip, ...]
    content_hash: str


def plan_shards(clips: Sequence[Clip], *, recipe_hash: str, clips_per_shard: int) -> tuple[ShardPlan, ...]:
    """Divide clips into shards of one subject each, at most ``clips_per_shard`` clips, in the manifest's order."""
    by_subject: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        by_subject.setdefault((clip.dataset, clip.subject), []).append(clip)
    plans = []
    for (dataset, subject), members in by_subject.items():
        for number, start in enumerate(range(0, len(members), clips_per_shard)):
            part = tuple(members[start : start + clips_per_shard])
            facts = json.dumps([recipe_hash, SCHEMA_VERSION, [asdict(clip) for clip in part]], sort_keys=True)
            name = f"{safe_name(dataset)}/{safe_name(subject)}/{number:05d}"
            plans.append(ShardPlan(name=name, clips=part, content_hash=hashlib.sha256(facts.encode()).hexdigest()))
    return tuple(plans)


def safe_name(text: str) -> str:
    """``text`` as one path segment; texts that differ give names that differ."""
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return clean if clean == text else f"{clean}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_receipt(root: str, plan: ShardPlan) -> dict | None:
    """The receipt of a shard that is done under this very plan, None where it has still to be made."""
    try:
        receipt = storage.read_json(storage.join(root, plan.name + ".json"))
    except FileNotFoundError:
        return None
    return receipt if receipt["content_hash"] == plan.content_hash else None


def write_shard(root: str, plan: ShardPlan, results: Iterable[PreparedClip | RejectedClip]) -> dict:
    """Write a shard, one row group a clip, then its receipt. Memory holds the shard's compressed bytes and one clip.

    Returns:
        the receipt: ``name, content_hash, sha256, bytes, clips`` (ids of the prepared) and ``rejects``.
    """
    sink, prepared, rejects = io.BytesIO(), [], []
    with pq.ParquetWriter(sink, SHARD_SCHEMA, compression="zstd", compression_level=1, use_dictionary=False) as writer:
        for result in results:
            if isinstance(result, RejectedClip):
                rejects.append(_reject_row(result))
            else:
                writer.write_table(pa.Table.from_pylist([to_row(result)], schema=SHARD_SCHEMA))
                prepared.append(result.clip.clip_id)
    data = sink.getvalue()
    if prepared:
        storage.write_bytes(storage.join(root, plan.name + ".parquet"), data)
    receipt = {
        "name": plan.name,
        "content_hash": plan.content_hash,
        "sha256": hashlib.sha256(data).hexdigest() if prepared else None,
        "bytes": len(data) if prepared else 0,
        "clips": prepared,
        "rejects": rejects,
    }
    storage.write_json(storage.join(root, plan.name + ".json"), receipt)
    return receipt


def to_row(prepared: PreparedClip) -> dict:
    """A prepared clip as a row of `SHARD_SCHEMA`."""
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
        "frames_sha256": hashlib.sha256(np.ascontiguousarray(prepared.frames)).hexdigest(),
        "frame_numbers": list(prepared.frame_numbers),
        "frames": prepared.frames.tobytes(),
        "frames_shape": list(prepared.frames.shape),
        "flow": flow.tobytes(),
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
    plain = {name: row[name] for name in ("clip_id", "dataset", "subject", "recording", "path", "onset", "offset", "fps")}
    return Clip(**plain, apex=row["annotated_apex"], labels=dict(row["labels"]))


def finish(root: str, *, receipts: Sequence[Mapping], card: Mapping) -> dict:
    """Write the index, the rejects and, last, the card of a set whose shards are all done. Returns the card."""
    tables = _map_files(
        lambda receipt: _read_table(storage.join(root, receipt["name"] + ".parquet"), INDEX_SCHEMA.names),
        [receipt for receipt in receipts if receipt["clips"]],
    )
    index = pa.concat_tables([table.cast(INDEX_SCHEMA) for table in tables] or [INDEX_SCHEMA.empty_table()])
    rejects = [row for receipt in receipts for row in receipt["rejects"]]
    _write_table(storage.join(root, "index.parquet"), index)
    _write_table(storage.join(root, "rejects.parquet"), pa.Table.from_pylist(rejects, schema=REJECT_SCHEMA))
    shards = [{key: receipt[key] for key in ("name", "sha256", "bytes", "clips")} for receipt in receipts]
    full = {**card, "schema": SCHEMA_VERSION, "prepared": len(index), "rejects": rejects, "shards": shards}
    storage.write_json(storage.join(root, "card.json"), full)
    return full


def read_card(root: str) -> dict:
    """The card of a complete prepared set. Raises InputError where there is none."""
    try:
        return storage.read_json(storage.join(root, "card.json"))
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
        if not wanted:
            break
        if {clip_id for _, clip_id in wanted}.isdisjoint(shard["clips"]):
            continue
        url = storage.join(root, shard["name"] + ".parquet")
        with _open_parquet(url) as file:
            for group in range(file.num_row_groups):
                row = file.read_row_group(group, columns=["dataset", "clip_id"]).to_pylist()[0]
                key = (row["dataset"], row["clip_id"])
                if key in wanted:
                    wanted.discard(key)
                    yield from_row(file.read_row_group(group).to_pylist()[0])
    if wanted:
        missing = ", ".join(sorted(clip_id for _, clip_id in wanted)[:5])
        raise InputError(f"{len(wanted)} clips are not in this set: {missing}", where=root, cure="run prepare again")


def _reject_row(rejected: RejectedClip) -> dict:
    clip = rejected.clip
    return {
        "clip_id": clip.clip_id,
        "dataset": clip.dataset,
        "subject": clip.subject,
        "path": clip.path,
        "reason": rejected.reason,
        "detail": rejected.detail,
    }


def _open_parquet(url: str) -> pq.ParquetFile:
    try:
        fs, path = storage.filesystem(url)
        return pq.ParquetFile(fs.open(path, "rb"), pre_buffer=False)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise InputError(f"the shard is missing or damaged: {error}", where=url, cure="delete its .json and run prepare") from error


def _read_table(url: str, columns: list[str] | None) -> pa.Table:
    with _open_parquet(url) as file:
        return file.read(columns=columns)


def _write_table(url: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    storage.write_bytes(url, sink.getvalue())


def _map_files(function, items: Sequence) -> list:
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(function, items))
