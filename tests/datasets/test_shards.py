"""Shards. If these fail, prepared pixels are not what the aligner gave, or a finished shard is made again or never."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from hsta.datasets import shards
from hsta.datasets.shard_plan import plan_shards
from hsta.errors import InputError
from hsta.records import Clip, PreparedClip, Quality, RejectedClip


def clip(number: int, subject: str = "s1") -> Clip:
    return Clip(
        clip_id=f"{subject}-{number}",
        dataset="mine",
        subject=subject,
        recording=f"r{number}",
        path=f"/nowhere/{number}",
        onset=3,
        apex=None if number % 2 else 4,
        offset=6,
        fps=None if number % 2 else 25.0,
        labels={"demo3": "smile"},
    )


def prepared(of: Clip) -> PreparedClip:
    random = np.random.default_rng(len(of.clip_id) + int(of.clip_id[-1]))
    return PreparedClip(
        clip=of,
        apex=4,
        frame_numbers=(3, 4, 5, 6),
        frames=random.integers(0, 256, (4, 8, 8, 3), np.uint8),
        flow=random.normal(size=(2, 2, 8, 8)).astype(np.float32),
        flow_pairs=("onset-apex", "apex-offset"),
        landmarks=random.normal(size=(468, 2)).astype(np.float32),
        transforms=random.normal(size=(4, 2, 3)),
        quality=Quality(face_score=0.9, interocular_px=40.0, residual_motion_px=0.1, sharpness=12.0),
        provenance={"opencv": "4"},
    )


def write(root, clips, reject=()):
    plans = plan_shards(clips, recipe_hash="r", clips_per_shard=2)
    receipts = []
    for plan in plans:
        results = [
            RejectedClip(clip=one, reason="no-face", detail="none") if one.clip_id in reject else prepared(one)
            for one in plan.clips
        ]
        receipts.append(shards.write_shard(str(root), plan, results))
    return plans, receipts


def finish(root, receipts):
    card = shards.make_card(receipts, {"dataset": "mine"})
    shards.finish(str(root), receipts, card)
    return card


def test_what_is_written_is_read_back(tmp_path):
    clips = [clip(1), clip(2), clip(3), clip(4, "s2")]
    _, receipts = write(tmp_path, clips)
    card = finish(tmp_path, receipts)
    keys = {("mine", one.clip_id) for one in clips}
    read = {item.clip.clip_id: item for item in shards.read_prepared(str(tmp_path), card, keys)}
    assert set(read) == {one.clip_id for one in clips}
    for one in clips:
        before, after = prepared(one), read[one.clip_id]
        assert after.clip == one and after.quality == before.quality and after.frame_numbers == before.frame_numbers
        np.testing.assert_array_equal(after.frames, before.frames)
        np.testing.assert_array_equal(after.flow, before.flow.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(after.transforms, before.transforms)
        np.testing.assert_array_equal(after.landmarks, before.landmarks)


def test_the_index_says_the_same_as_the_shards(tmp_path):
    _, receipts = write(tmp_path, [clip(1), clip(2), clip(4, "s2")])
    finish(tmp_path, receipts)
    index = shards.read_index(str(tmp_path))
    rows = [pq.read_table(tmp_path / f"{receipt['name']}.parquet", columns=index.column_names) for receipt in receipts]
    assert index.to_pylist() == [row for table in rows for row in table.to_pylist()]
    assert index.schema.equals(shards.INDEX_SCHEMA)


def test_only_the_shards_asked_for_are_opened(tmp_path):
    _, receipts = write(tmp_path, [clip(1), clip(2, "s2")])
    card = finish(tmp_path, receipts)
    (tmp_path / f"{receipts[1]['name']}.parquet").unlink()
    assert len(list(shards.read_prepared(str(tmp_path), card, [("mine", "s1-1")]))) == 1
    with pytest.raises(InputError, match="missing or damaged"):
        list(shards.read_prepared(str(tmp_path), card, [("mine", "s2-2")]))


def test_a_clip_that_is_not_there_is_named(tmp_path):
    _, receipts = write(tmp_path, [clip(1)])
    card = finish(tmp_path, receipts)
    with pytest.raises(InputError, match="other"):
        list(shards.read_prepared(str(tmp_path), card, [("mine", "other")]))


def test_a_receipt_counts_only_for_its_own_plan(tmp_path):
    (plan,), (receipt,) = write(tmp_path, [clip(1)])
    assert shards.read_receipt(str(tmp_path), plan) == receipt
    assert shards.read_receipt(str(tmp_path), dataclasses.replace(plan, content_hash="other")) is None
    assert shards.read_receipt(str(tmp_path), dataclasses.replace(plan, name="mine/s9/00000")) is None
    (tmp_path / f"{plan.name}.json").write_bytes(b"\x00\xff{")
    assert shards.read_receipt(str(tmp_path), plan) is None


def test_a_shard_that_is_not_what_was_written_is_found(tmp_path):
    _, (receipt, other) = write(tmp_path, [clip(1), clip(4, "s2")])
    path = tmp_path / f"{receipt['name']}.parquet"
    assert shards.check_shard(str(tmp_path), receipt) is None
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "damaged" in shards.check_shard(str(tmp_path), receipt)
    path.unlink()
    assert "missing" in shards.check_shard(str(tmp_path), receipt)
    assert shards.check_shard(str(tmp_path), other) is None


def test_rejects_are_kept_with_their_reasons(tmp_path):
    _, receipts = write(tmp_path, [clip(1), clip(2), clip(3, "s3")], reject=("s1-1", "s3-3"))
    card = finish(tmp_path, receipts)
    assert card["prepared"] == 1
    rows = pq.read_table(tmp_path / "rejects.parquet").to_pylist()
    assert [(row["clip_id"], row["reason"]) for row in rows] == [("s1-1", "no-face"), ("s3-3", "no-face")]
    assert [row["clip_id"] for row in shards.read_index(str(tmp_path)).to_pylist()] == ["s1-2"]


def test_a_set_without_a_card_is_not_complete(tmp_path):
    write(tmp_path, [clip(1)])
    with pytest.raises(InputError, match="card.json"):
        shards.read_card(str(tmp_path))


def test_flow_that_is_not_finite_is_not_stored():
    broken = prepared(clip(1))
    broken.flow[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="s1-1"):
        shards.to_row(broken)


def test_the_schema_says_its_version_and_units(tmp_path):
    write(tmp_path, [clip(1)])
    schema = pq.read_schema(next(tmp_path.glob("mine/s1/*.parquet")))
    assert schema.metadata[b"hsta.schema"] == b"2" and schema.metadata[b"hsta.flow_unit"] == b"aligned pixels"
    assert "pixels" in schema.field("flow").metadata[b"meaning"].decode()
