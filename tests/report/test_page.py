"""Lost if these fail: a report that can be read, mailed and believed."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hsta.errors import InputError
from hsta.evaluation.predictions import to_frame
from hsta.report import Sample, render, write_report
from tests.evaluation.builders import CLASSES
from tests.report.builders import DATA, RUN, make_results, make_sample

HOSTILE = "<img src=x onerror=alert(1)>\"'&</title></style><script>alert(2)</script>"
VOID = {"img", "meta", "br"}


class Outline(HTMLParser):
    """Elements, ids, links and text of a page; unbalanced tags are an error."""

    def __init__(self, page: str):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.elements if tag == name]


def words(page: str) -> str:
    return " ".join(" ".join(Outline(page).text).split())


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_results(), samples=[make_sample(), make_sample("s02-smile-1", prediction="frown")])


def test_the_head_says_what_was_measured(page):
    results = make_results()
    text = words(page)
    low, high = results["interval"]["uf1"]
    assert f"UF1 {results['pooled']['uf1']:.3f} ({low:.3f} to {high:.3f})" in text
    for part in (
        "folds 8/8",
        "leakage audit passed",
        "protocol loso",
        "label set demo3",
        "96 clips of 8 subjects from demo",
    ):
        assert part in text
    assert "02 January 2026, 03:04 UTC" in text


def test_every_part_is_there(page):
    outline = Outline(page)
    sections = [attrs["id"] for attrs in outline.all("section")]
    assert sections == [
        *(
            "result",
            "classes",
            "subjects",
            "training",
            "samples",
            "audit",
            "rejected",
            "data",
            "run",
            "recompute",
            "limits",
        )
    ]
    assert [attrs["href"] for attrs in outline.all("a")] == [f"#{name}" for name in sections]
    text = words(page)
    for part in (
        *(
            "smile",
            "majority 0.167",
            "precision",
            "s08",
            "Training loss",
            "Learning rate",
            "one training run",
            "taken for frown",
        ),
        *(
            "no face in onset frame 000001.jpg",
            "farneback",
            "model.widths 96, 192",
            "2.13.0",
            "6 min 12 s",
            "hardware.cpu 2 cores",
        ),
        *(
            "python -m workflows.evaluate --config runs/demo/config.yaml",
            "runs/demo/predictions.parquet",
            "Article 5(1)(f)",
        ),
    ):
        assert part in text


def test_the_page_needs_nothing_from_outside(page):
    outline = Outline(page)
    for name in ("script", "link", "iframe", "object", "form"):
        assert not outline.all(name)
    assert all(attrs["src"].startswith("data:image/") for attrs in outline.all("img"))
    assert not re.search(r"url\(|@import|https?://", page)
    (policy,) = [attrs for attrs in outline.all("meta") if "http-equiv" in attrs]
    assert policy["content"].startswith("default-src 'none'")


def test_pictures_and_tables_can_be_read_aloud(page):
    outline = Outline(page)
    assert all(attrs["alt"] for attrs in outline.all("img"))
    charts = [attrs for attrs in outline.all("svg") if attrs.get("aria-hidden") != "true"]
    assert charts and all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert len(outline.all("caption")) == len(outline.all("table")) > 5
    assert all(attrs.get("scope") in ("col", "row") for attrs in outline.all("th"))
    assert any("smile taken for frown" in text for text in outline.text)


def test_a_partial_set_has_a_banner_and_no_score():
    results = make_results(drop="loso-demo-s02")
    text = words(render(results))
    assert "Incomplete: 7/8 folds" in text
    assert "loso-demo-s02 : the loss of epoch 3 is nan" in text
    assert "UF1 0" not in text and "95 % interval" not in text and "all clips" not in text
    assert 'id="result"' not in render(results)


def test_a_run_without_any_prediction_still_gives_a_page():
    results = make_results()
    split_free = {**results, "per_class": [], "per_subject": [], "per_dataset": [], "curves": {}, "floors": None}
    split_free |= {"pooled": dict.fromkeys(results["pooled"]), "folds": {"complete": 0, "total": 1, "failed": []}}
    assert "Incomplete: 0/1 folds" in words(render(split_free))


def test_the_authors_protocol_is_announced_with_its_overlap():
    text = words(render(make_results(protocol="paper-5fold-subject-dependent")))
    assert "not subject-independent" in text
    assert "96 of 96 test clips come from a subject who is also in training" in text
    assert "leakage audit passed" not in text


def test_a_failed_or_missing_audit_is_announced():
    failed = {
        "passed": False,
        "summary": "Leakage audit FAILED: 1 findings",
        "findings": [{"message": "fold x: demo/a leaks"}],
    }
    text = words(render(make_results(audit=failed)))
    assert "leakage audit failed" in text and "fold x: demo/a leaks" in text
    assert "leakage not audited" in words(render(make_results(audit={"passed": None, "summary": "other software"})))


def test_several_data_sets_and_seeds_are_told_apart():
    text = words(render(make_results(subjects=3, seeds=(0, 1), datasets=("casme2", "samm"))))
    assert "Mean over seeds" in text and "sd over 2 seeds" in text and "2 seeds" in text
    assert "Sum over 2 seeds" in text
    assert "samm 36 3 0." in text
    assert "casme2/s01" in text


def test_text_from_data_is_never_markup():
    hostile = {
        "data": DATA
        | {
            "rejected": [{"clip_id": HOSTILE, "reason": HOSTILE, "detail": HOSTILE}],
            "notes": [HOSTILE],
            HOSTILE: HOSTILE,
        },
        "run": RUN | {"name": HOSTILE, "config": {HOSTILE: [HOSTILE]}, "recompute": HOSTILE, "created": HOSTILE},
        "epoch_rule": HOSTILE,
        "curves": {HOSTILE: {"epoch": [1, 2], HOSTILE: [0.5, 0.25]}},
        "datasets": (HOSTILE, "other"),
        "subjects": 2,
    }
    page = render(make_results(**hostile), samples=[make_sample(HOSTILE, prediction=HOSTILE)])
    outline = Outline(page)
    assert not outline.all("script")
    assert all("onerror" not in attrs for _, attrs in outline.elements)
    assert len(outline.all("title")) > 1 and outline.text.count(HOSTILE) > 5


def test_many_rejected_clips_are_counted_and_the_page_stays_small():
    rejected = [{"clip_id": f"c{k}", "reason": "no-face", "detail": "d"} for k in range(5000)]
    text = words(render(make_results(data=DATA | {"rejected": rejected})))
    assert "no-face: 5,000 clips" in text and "4,800 more are listed in results.json" in text
    assert "None: every clip of the manifest was prepared." in words(render(make_results(data=DATA | {"rejected": []})))


def test_a_sample_whose_parts_do_not_fit_is_refused():
    picture = np.zeros((8, 8, 3), np.uint8)
    facts = {"clip_id": "a", "label": "smile", "prediction": "smile", "onset": picture, "apex": picture}
    for changes in ({"flow": np.zeros((2, 4, 8))}, {"flow": np.zeros((2, 8, 8)), "apex": picture.astype(float)}):
        with pytest.raises(InputError, match="sample a"):
            Sample(**(facts | changes))


def test_results_of_another_version_are_refused():
    with pytest.raises(InputError, match="no results of this version"):
        render({"schema": 99})


def test_the_page_is_written_whole(tmp_path, page):
    write_report(str(tmp_path / "run" / "report.html"), page)
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the report"):
        write_report(str(tmp_path / "file" / "report.html"), page)


def test_an_empty_log_renders():
    from hsta.evaluation.results import evaluate
    from hsta.evaluation.splits import make_split
    from tests.evaluation.builders import LABEL_SET, make_clips

    split = make_split(make_clips(3, 1), "loso", label_set=LABEL_SET)
    results = evaluate(
        to_frame([], CLASSES), split=split, classes=CLASSES, epoch_rule="fixed", audit={"passed": True}, data={}, run={}
    )
    assert "0 clips predicted so far" in words(render(results))


def test_what_was_left_out_of_the_annotations_and_corrected_is_listed():
    excluded = {"clip_id": "EP99", "reason": "no-apex", "detail": "apex '/' "}
    corrected = {
        "clip_id": "028",
        "field": "apex",
        "as_distributed": 1143,
        "corrected": 1113,
        "source": "a public copy",
    }
    page = render(make_results(data={**DATA, "exclusions": [excluded], "corrections": [corrected]}))
    text = " ".join(Outline(page).text)
    for part in ("Exclusions and corrections", "EP99", "no-apex", "1143", "1113", "a public copy"):
        assert part in text
    assert "Exclusions and corrections" not in " ".join(Outline(render(make_results())).text)
