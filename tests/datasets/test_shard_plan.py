"""Shard plans. If these fail, shards of different recipes or sources mix, or what changed goes unnoticed."""

import dataclasses

from hsta.datasets.shard_plan import changes, plan_shards, read_plan, safe_name, write_plan
from hsta.records import Clip


def clip(number: int, subject: str = "s1", path: str = "", onset: int = 3) -> Clip:
    return Clip(
        clip_id=f"{subject}-{number}",
        dataset="mine",
        subject=subject,
        recording=f"r{number}",
        path=path or f"/nowhere/{number}",
        onset=onset,
        apex=None,
        offset=onset + 6,
        labels={"demo3": "smile"},
    )


def plan(clips, **options):
    return plan_shards(clips, **{"recipe_hash": "r", "clips_per_shard": 2, **options})


def test_shards_hold_one_subject_and_follow_from_manifest_source_and_recipe_alone():
    clips = [clip(1), clip(2, "s2"), clip(3), clip(5)]
    plans = plan(clips)
    assert [(one.name.rpartition("-")[0], len(one.clips)) for one in plans] == [
        ("mine/s1/00000", 2),
        ("mine/s1/00001", 1),
        ("mine/s2/00000", 1),
    ]
    assert plans == plan(clips)
    names = {one.name for one in plans}
    others = (
        plan(clips, recipe_hash="r2"),
        plan(clips, sources={("mine", one.clip_id): "new" for one in clips}),
        plan([dataclasses.replace(one, offset=20) for one in clips]),
    )
    assert not any(names & {one.name for one in other} for other in others)


def test_a_change_to_one_clip_leaves_the_other_shards_alone():
    clips = [clip(number) for number in range(8)]
    changed = plan(clips, sources={("mine", "s1-5"): "new"})
    same = [before == after for before, after in zip(plan(clips, sources={}), changed)]
    assert same == [True, True, False, True]


def test_a_shard_is_closed_before_it_grows_too_large_and_holds_one_clip_at_least():
    clips = [clip(number) for number in range(5)]
    sizes = {"s1-0": 4, "s1-1": 5, "s1-2": 20, "s1-3": 1, "s1-4": 9}
    plans = plan(clips, clips_per_shard=10, clip_bytes=lambda one: sizes[one.clip_id], max_bytes=10)
    assert [[sizes[one.clip_id] for one in shard.clips] for shard in plans] == [[4, 5], [20], [1, 9]]


def test_intervals_of_one_recording_stand_together_in_time():
    clips = [clip(1, path="/a.avi", onset=90), clip(2), clip(3, path="/a.avi", onset=10), clip(4)]
    (one,) = plan(clips, clips_per_shard=4)
    assert [member.clip_id for member in one.clips] == ["s1-3", "s1-1", "s1-2", "s1-4"]


def test_what_changed_is_named(tmp_path):
    clips = [clip(number) for number in range(4)]
    sources = {("mine", one.clip_id): "old" for one in clips}
    assert read_plan(str(tmp_path)) is None
    write_plan(str(tmp_path), plan(clips, sources=sources), recipe_hash="r", recipe={"size": 1})
    before = read_plan(str(tmp_path))
    assert changes(before, plan(clips, sources=sources)) == {}
    after = [clips[0], dataclasses.replace(clips[1], offset=30), clips[2], clip(9)]
    assert changes(before, plan(after, sources={**sources, ("mine", "s1-2"): "new", ("mine", "s1-9"): "new"})) == {
        "added": ["s1-9"],
        "removed": ["s1-3"],
        "annotation changed": ["s1-1"],
        "source changed": ["s1-2"],
    }


def test_names_that_are_no_file_names_stay_apart():
    names = {safe_name(text) for text in ("a/b", "a_b", "..", "a b", "é")}
    assert len(names) == 5 and all(
        name.replace("-", "").replace("_", "").isalnum() or name.startswith("_") for name in names
    )
