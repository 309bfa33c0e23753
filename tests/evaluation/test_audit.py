"""Lost if these fail: the promise that no held-out person reached training."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsta.errors import InputError
from hsta.evaluation.audit import CHECKS, audit
from hsta.evaluation.splits import Fold, Split, clip_key, make_split
from tests.evaluation.builders import LABEL_SET, make_clip, make_clips

CLIPS = make_clips(4, 2)
HASHES = {clip_key(clip): clip.clip_id for clip in CLIPS}


def loso(clips=CLIPS, **options) -> Split:
    return make_split(clips, "loso", label_set=LABEL_SET, **options)


def change_fold(split: Split, number: int, **changes) -> Split:
    folds = list(split.folds)
    folds[number] = replace(folds[number], **changes)
    return replace(split, folds=tuple(folds))


def refused(report, check: str, *names: str) -> str:
    """The refusal's text; it must come from ``check`` and name the clips."""
    assert not report.passed
    assert check in {finding.check for finding in report.findings}
    with pytest.raises(InputError, match="leakage audit failed") as caught:
        report.raise_on_failure()
    for name in names:
        assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", ["loso", "subject-kfold-2", "lodo", "holdout"])
def test_honest_splits_pass(protocol):
    clips = CLIPS + make_clips(3, 2, dataset="other")
    options = {"test_subjects": ["demo/s01"]} if protocol == "holdout" else {}
    split = make_split(clips, protocol, label_set=LABEL_SET, validation_subjects=1, **options)
    hashes = {clip_key(clip): [clip.clip_id, clip.clip_id + "'"] for clip in clips}
    report = audit(split, clips, content_hashes=hashes)
    assert report.passed
    assert report.overlap["test_clips"] == (6 if protocol == "holdout" else len(clips))
    assert report.overlap["subject"] == report.overlap["recording"] == 0
    report.raise_on_failure()
    facts = report.to_dict()
    assert facts["passed"] and facts["split_sha256"] == split.sha256
    assert [check["name"] for check in facts["checks"]] == list(CHECKS)
    assert facts["summary"].startswith("Leakage audit passed: 6 of 6 checks made")


def test_duplicates_are_not_claimed_without_hashes():
    report = audit(loso(), CLIPS)
    assert report.checks["duplicates"] is False
    assert "5 of 6 checks made" in report.summary()


def test_a_shared_subject_is_refused():
    split = loso()
    moved, kept = split.folds[0].test[:1], split.folds[0].test[1:]
    split = change_fold(split, 0, test=kept, train=split.folds[0].train + moved)
    report = audit(split, CLIPS)
    text = refused(report, "subjects", "fold loso-demo-s01", "subject demo/s01", "/".join(moved[0]), "/".join(kept[0]))
    assert "clips never tested" in text
    assert report.overlap["subject"] == 5


def test_a_shared_recording_is_refused_even_across_subjects():
    clips = [*CLIPS, make_clip("again", subject="s09", recording="demo-s01-smile-0")]
    report = audit(loso(clips), clips)
    refused(report, "recordings", "recording demo/demo-s01-smile-0", "demo/again", "demo/demo-s01-smile-0")
    assert report.overlap["recording"] == 2


def test_one_folder_under_two_data_sets_is_refused():
    clips = [*CLIPS, make_clip("copy", subject="s1", dataset="renamed", path=CLIPS[0].path + "/")]
    refused(audit(loso(clips), clips), "recordings", f"at {CLIPS[0].path}", "renamed/copy")


def test_overlapping_frames_are_refused_and_touching_clips_of_one_recording_are_no_overlap():
    one = make_clip("one", subject="a", recording="r", path="/v", onset=10, offset=20)
    two = make_clip("two", subject="b", recording="r", path="/v", onset=18, offset=30)
    three = make_clip("three", subject="c", recording="r", path="/v", onset=31, offset=40)
    report = audit(loso([one, two, three]), [one, two, three])
    refused(report, "intervals", "frames 18 to 20", "demo/one", "demo/two")
    intervals = [finding for finding in report.findings if finding.check == "intervals"]
    assert {finding.clips for finding in intervals} == {("demo/one", "demo/two")}


def test_one_common_frame_is_an_overlap():
    clips = [
        make_clip(name, subject=name, path="/v", onset=on, offset=off) for name, on, off in (("a", 1, 9), ("b", 9, 20))
    ]
    refused(audit(loso(clips), clips), "intervals", "frames 9 to 9", "demo/a", "demo/b")


def test_a_clip_duplicated_under_another_name_is_refused():
    clips = [*CLIPS, make_clip("alias", subject="s08")]
    hashes = HASHES | {("demo", "alias"): ["fresh frame", "demo-s02-frown-1"]}
    text = refused(
        audit(loso(clips), clips, content_hashes=hashes), "duplicates", "demo/alias", "demo/demo-s02-frown-1"
    )
    assert "same frame content" in text
    assert audit(loso(clips), clips).passed  # nothing but the pixels gives it away
    with pytest.raises(InputError, match="1 clips have no content hash: demo/alias"):
        audit(loso(clips), clips, content_hashes=HASHES)


def test_an_extra_clip_of_the_test_subject_or_its_recording_is_refused():
    split = loso()
    own = make_clip("macro-own", subject="s01")
    overlapping = make_clip("macro-cut", subject="x", dataset="macro", path=CLIPS[0].path, onset=5, offset=50)
    for macro, check in ((own, "subjects"), (overlapping, "intervals")):
        leaky = change_fold(split, 0, extra=(clip_key(macro),))
        report = audit(leaky, CLIPS, extra=[macro])
        refused(report, check, "fold loso-demo-s01", "/".join(clip_key(macro)))
        assert report.overlap["recording"] == (check == "intervals")
    honest = make_split(CLIPS, "loso", label_set=LABEL_SET, extra=[own, overlapping])
    assert audit(honest, CLIPS, extra=[own, overlapping]).passed


def test_inner_validation_with_the_test_or_a_training_subject_is_refused():
    split = loso(validation_subjects=1)
    fold = split.folds[0]
    text = refused(
        audit(change_fold(split, 0, validation=fold.validation + fold.test[:1]), CLIPS),
        "inner-validation",
        "/".join(fold.test[0]),
    )
    assert "both validated on and tested" in text
    half = change_fold(split, 0, validation=fold.validation[1:], train=fold.train + fold.validation[:1])
    refused(audit(half, CLIPS), "inner-validation", "is in inner validation", "/".join(fold.validation[0]))


def test_clips_tested_twice_never_or_unknown_are_refused():
    split = loso()
    twice = replace(split, folds=(*split.folds, replace(split.folds[0], name="again")))
    refused(audit(twice, CLIPS), "coverage", "tested more than once", "/".join(split.folds[0].test[0]))
    never = replace(split, folds=split.folds[1:])
    refused(audit(never, CLIPS), "coverage", "6 clips never tested", "and 2 more")
    refused(audit(split, CLIPS[1:]), "coverage", "not among the clips given", "/".join(clip_key(CLIPS[0])))


def test_a_clip_on_both_sides_is_refused():
    fold = Fold(name="only", train=(("demo", "a"), ("demo", "b")), test=(("demo", "a"),))
    split = Split(protocol="holdout", label_set=LABEL_SET, seed=0, folds=(fold,))
    report = audit(split, [make_clip("a"), make_clip("b", subject="s02")])
    refused(report, "coverage", "demo/a is both trained on and tested")


def test_the_authors_split_is_measured_and_printed_not_refused():
    clips = [replace(clip, recording=clip.subject, path=f"/v/{clip.subject}") for clip in make_clips(4, 5)]
    split = make_split(clips, "paper-5fold-subject-dependent", label_set=LABEL_SET)
    report = audit(split, clips)
    assert report.passed
    assert report.overlap == {"test_clips": 60, "subject": 60, "recording": 60}
    assert report.to_dict()["subject_independent"] is False
    assert report.summary() == (
        "NOT subject-independent (paper-5fold-subject-dependent): 60 of 60 test clips come from a subject who is "
        "also in training, 60 from the same recording"
    )
