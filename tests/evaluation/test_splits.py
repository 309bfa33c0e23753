"""Lost if these fail: folds that are the same everywhere and keep people apart."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from hsta.errors import InputError
from hsta.evaluation.splits import MEGC2019_CLIPS, Split, clip_key, make_split, subject_key
from tests.evaluation.builders import CLASSES, LABEL_SET, make_clip, make_clips

CLIPS = make_clips(6, 2) + make_clips(3, 2, dataset="other")
SUBJECT = {clip_key(clip): subject_key(clip) for clip in CLIPS}


def count_tests(split):
    return Counter(key for fold in split.folds for key in fold.test)


@pytest.mark.parametrize("protocol", ["loso", "subject-kfold-3", "lodo", "paper-5fold-subject-dependent"])
def test_every_clip_is_tested_once_and_trained_on_elsewhere(protocol):
    split = make_split(CLIPS, protocol, label_set=LABEL_SET)
    assert count_tests(split) == Counter(map(clip_key, CLIPS))
    for fold in split.folds:
        assert sorted(fold.train + fold.test) == sorted(map(clip_key, CLIPS))
        shared = {SUBJECT[key] for key in fold.train} & {SUBJECT[key] for key in fold.test}
        assert bool(shared) == protocol.startswith("paper")


@pytest.mark.parametrize("protocol", ["loso", "subject-kfold-3", "lodo", "paper-5fold-subject-dependent"])
def test_the_order_of_clips_does_not_matter_but_the_seed_may(protocol):
    one = make_split(CLIPS, protocol, label_set=LABEL_SET, seed=3)
    assert one == make_split(CLIPS[::-1], protocol, label_set=LABEL_SET, seed=3)
    assert one.sha256 == make_split(CLIPS[::-1], protocol, label_set=LABEL_SET, seed=3).sha256


def test_names_of_folds():
    assert [fold.name for fold in make_split(CLIPS, "loso", label_set=LABEL_SET).folds][-3:] == [
        "loso-other-s01",
        "loso-other-s02",
        "loso-other-s03",
    ]
    assert [fold.name for fold in make_split(CLIPS, "lodo", label_set=LABEL_SET).folds] == ["lodo-demo", "lodo-other"]
    kfold = make_split(CLIPS, "subject-kfold-3", label_set=LABEL_SET)
    assert [fold.name for fold in kfold.folds] == ["kfold-1of3", "kfold-2of3", "kfold-3of3"]


def test_hostile_subject_names_give_distinct_safe_fold_names():
    subjects = ["../x", "..\\x", "S1", "s1", "a b", "a/b", "spNO.1"]
    clips = [make_clip(f"c{k}", subject=subject) for k, subject in enumerate(subjects)]
    names = [fold.name for fold in make_split(clips, "loso", label_set=LABEL_SET).folds]
    assert len({name.casefold() for name in names}) == len(subjects)
    assert all(name.replace("-", "").replace("_", "").isalnum() for name in names)


def test_kfold_keeps_classes_spread():
    split = make_split(make_clips(12, 1), "subject-kfold-4", label_set=LABEL_SET, seed=1)
    for fold in split.folds:
        assert Counter(key[1].rsplit("-", 1)[0].split("-", 2)[2] for key in fold.test) == dict.fromkeys(CLASSES, 3)


def test_holdout_tests_the_named_subjects():
    split = make_split(CLIPS, "holdout", label_set=LABEL_SET, test_subjects=["demo/s02", "other/s01"])
    (fold,) = split.folds
    assert {SUBJECT[key] for key in fold.test} == {"demo/s02", "other/s01"}
    assert "demo/s02" not in {SUBJECT[key] for key in fold.train}


def composite():
    clips, subjects = [], 68
    for k in range(MEGC2019_CLIPS):
        clips.append(make_clip(f"c{k:03d}", subject=f"s{k % subjects:02d}", dataset="smic"))
    return clips


def test_the_composite_is_joined_on_the_organisers_list():
    clips = composite()
    organisers = [clip_key(clip) for clip in clips]
    other = make_clip("unlisted", dataset="smic", subject="s99")
    split = make_split([*clips, other], "megc2019-cde", label_set=LABEL_SET, organisers_list=organisers)
    assert len(split.folds) == 68
    assert split.excluded == (("smic", "unlisted"),)
    assert ("smic", "unlisted") not in {key for fold in split.folds for key in fold.train + fold.test}
    with pytest.raises(InputError, match="1 clips of the organisers' list are not there: smic/c000"):
        make_split(clips[1:], "megc2019-cde", label_set=LABEL_SET, organisers_list=organisers)
    with pytest.raises(InputError, match="441 clips of 68 subjects, not 442 of 68"):
        make_split(clips, "megc2019-cde", label_set=LABEL_SET, organisers_list=organisers[1:])


def test_inner_validation_takes_other_subjects():
    split = make_split(CLIPS, "loso", label_set=LABEL_SET, validation_subjects=2)
    chosen = []
    for fold in split.folds:
        parts = [{SUBJECT[key] for key in keys} for keys in (fold.train, fold.validation, fold.test)]
        assert [len(part) for part in parts] == [6, 2, 1]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        chosen.append(frozenset(parts[1]))
    assert len(set(chosen)) > 1


def test_extra_clips_skip_what_is_held_out():
    macro = [
        make_clip("own", subject="s01"),
        make_clip("same-recording", subject="s77", recording="demo-s01-smile-0"),
        make_clip("same-file", subject="s78", path="/clips/demo/demo-s01-smile-1"),
        make_clip("free", subject="s79"),
    ]
    split = make_split(CLIPS, "loso", label_set=LABEL_SET, extra=macro)
    assert split.fold("loso-demo-s01").extra == (("demo", "free"),)
    assert len(split.fold("loso-demo-s02").extra) == 4


def test_a_saved_split_is_the_same_and_an_edited_one_is_refused(tmp_path):
    split = make_split(CLIPS, "loso", label_set=LABEL_SET, validation_subjects=1)
    url = str(tmp_path / "split.json")
    split.save(url)
    assert Split.load(url) == split
    content = json.loads((tmp_path / "split.json").read_text())
    assert content["sha256"] == split.sha256
    content["folds"][0]["train"].append(content["folds"][0]["test"][0])
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="changed after it was saved"):
        Split.load(url)
    (tmp_path / "split.json").write_text('{"folds": 3}')
    with pytest.raises(InputError, match="not a split file"):
        Split.load(url)
    with pytest.raises(InputError, match="not there"):
        Split.load(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("clips", "protocol", "options", "problem"),
    [
        (CLIPS, "loso2", {}, "unknown protocol 'loso2'"),
        (CLIPS, "subject-kfold-1", {}, "unknown protocol"),
        (CLIPS, "subject-kfold-10", {}, "9 subjects cannot fill 10 folds"),
        (CLIPS[:6], "loso", {}, "needs folds that have both"),
        (CLIPS[:12], "lodo", {}, "needs folds that have both"),
        (CLIPS[:3], "paper-5fold-subject-dependent", {}, "needs folds that have both"),
        (CLIPS, "holdout", {}, "needs test_subjects"),
        (CLIPS, "holdout", {"test_subjects": ["s01"]}, "no clip of subject s01"),
        (CLIPS, "loso", {"test_subjects": ["demo/s01"]}, "has no use for test_subjects"),
        (CLIPS, "megc2019-cde", {}, "needs organisers_list"),
        (CLIPS, "loso", {"validation_subjects": 8}, "leave none"),
        ([*CLIPS, CLIPS[0]], "loso", {}, "given more than once: demo/demo-s01-smile-0"),
        ([replace(CLIPS[0], labels={}), *CLIPS[1:]], "loso", {}, "1 clips have no label in label set 'demo3'"),
    ],
)
def test_what_gives_no_split_is_refused(clips, protocol, options, problem):
    with pytest.raises(InputError, match=problem):
        make_split(clips, protocol, label_set=LABEL_SET, **options)
