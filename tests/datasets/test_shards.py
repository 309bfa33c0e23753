"""Shards. If these fail, prepared pixels are not what the aligner gave, or a finished shard is made again or never."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest

from hsta.datasets import shards
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
    plans = shards.plan_shards(clips, recipe_hash="r", clips_per_shard=2)
    receipts = []
    for plan in plans:
        results = [
            RejectedClip(clip=one, reason="no-face", detail="none") if one.clip_id in reject else prepared(one) for one in plan.clips
        ]
        receipts.append(shards.write_shard(str(root), plan, results))
    return plans, receipts


def test_what_is_written_is_read_back(tmp_path):
    clips = [clip(1), clip(2), clip(3), clip(4, "s2")]
    _, receipts = write(tmp_path, clips)
    card = shards.finish(str(tmp_path), receipts=receipts, card={"dataset": "mine"})
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


def test_only_the_shards_asked_for_are_opened(tmp_path):
    _, receipts = write(tmp_path, [clip(1), clip(2, "s2")])
    card = shards.finish(str(tmp_path), receipts=receipts, card={})
    (tmp_path / "mine/s2/00000.parquet").unlink()
    assert len(list(shards.read_prepared(str(tmp_path), card, [("mine", "s1-1")]))) == 1
    with pytest.raises(InputError, match="missing or damaged"):
        list(shards.read_prepared(str(tmp_path), card, [("mine", "s2-2")]))


def test_a_clip_that_is_not_there_is_named(tmp_path):
    _, receipts = write(tmp_path, [clip(1)])
    card = shards.finish(str(tmp_path), receipts=receipts, card={})
    with pytest.raises(InputError, match="other"):
        list(shards.read_prepared(str(tmp_path), card, [("mine", "other")]))


def test_shards_hold_one_subject_and_follow_from_manifest_and_recipe_alone():
    clips = [clip(1), clip(2, "s2"), clip(3), clip(5)]
    plans = shards.plan_shards(clips, recipe_hash="r", clips_per_shard=2)
    assert [(plan.name, len(plan.clips)) for plan in plans] == [("mine/s1/00000", 2), ("mine/s1/00001", 1), ("mine/s2/00000", 1)]
    assert plans == shards.plan_shards(clips, recipe_hash="r", clips_per_shard=2)
    other = shards.plan_shards(clips, recipe_hash="r2", clips_per_shard=2)
    assert not {plan.content_hash for plan in plans} & {plan.content_hash for plan in other}


def test_a_receipt_counts_only_for_its_own_plan(tmp_path):
    (plan,), (receipt,) = write(tmp_path, [clip(1)])
    assert shards.read_receipt(str(tmp_path), plan) == receipt
    moved = dataclasses.replace(plan, clips=(dataclasses.replace(plan.clips[0], offset=7),), content_hash="other")
    assert shards.read_receipt(str(tmp_path), moved) is None
    assert shards.read_receipt(str(tmp_path), dataclasses.replace(plan, name="mine/s9/00000")) is None


def test_rejects_are_kept_with_their_reasons(tmp_path):
    _, receipts = write(tmp_path, [clip(1), clip(2), clip(3, "s3")], reject=("s1-1", "s3-3"))
    card = shards.finish(str(tmp_path), receipts=receipts, card={})
    assert card["prepared"] == 1
    rows = pq.read_table(tmp_path / "rejects.parquet").to_pylist()
    assert [(row["clip_id"], row["reason"]) for row in rows] == [("s1-1", "no-face"), ("s3-3", "no-face")]
    assert [row["clip_id"] for row in shards.read_index(str(tmp_path)).to_pylist()] == ["s1-2"]


def test_a_set_without_a_card_is_not_complete(tmp_path):
    write(tmp_path, [clip(1)])
    with pytest.raises(InputError, match="card.json"):
        shards.read_card(str(tmp_path))


def test_names_that_are_no_file_names_stay_apart():
    names = {shards.safe_name(text) for text in ("a/b", "a_b", "..", "a b", "é")}
    assert len(names) == 5 and all(name.replace("-", "").replace("_", "").isalnum() or name.startswith("_") for name in names)


def test_flow_that_is_not_finite_is_not_stored():
    broken = prepared(clip(1))
    broken.flow[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="s1-1"):
        shards.to_row(broken)


def test_the_schema_says_its_version_and_units(tmp_path):
    write(tmp_path, [clip(1)])
    schema = pq.read_schema(tmp_path / "mine/s1/00000.parquet")
    assert schema.metadata[b"hsta.schema"] == b"1" and schema.metadata[b"hsta.flow_unit"] == b"aligned pixels"
    assert "pixels" in schema.field("flow").metadata[b"meaning"].decode()
