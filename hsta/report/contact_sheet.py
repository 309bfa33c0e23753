"""A contact sheet of a prepared set: some of its clips as the model will see them, and the rejected ones with their
reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hsta.datasets import shards
from hsta.report import pictures
from hsta.report.markup import Markup, table, tag
from hsta.report.page import POLICY
from hsta.report.sections import section
from hsta.report.style import CSS
from hsta.report.text import count
from hsta.vision.errors import REASONS

if TYPE_CHECKING:
    import numpy as np

    from hsta.records import PreparedClip

SAMPLES = 12
REJECTS_LISTED = 200
REJECTS_PICTURED = 12


def contact_sheet(root: str, card: Mapping) -> str:
    """The sheet as one HTML page without scripts or requests to anywhere.

    Reads `SAMPLES` prepared clips, evenly spaced over the set, and tries to show the onset frame of some rejected ones.

    Args:
        root: the prepared set, path or URL.
        card: its card (`hsta.datasets.shards.read_card`).
    """
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", f"{card['dataset']}: contact sheet"),
            tag("style", Markup(CSS)),
        ),
        tag(
            "body",
            _head(card),
            tag("main", _samples(_chosen(root, card)), _rejects(root, card["rejects"])),
            tag("footer", "Prepared clips show faces: treat this page as personal data."),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _head(card: Mapping) -> Markup:
    size = sum(shard["bytes"] for shard in card["shards"]) / 1e6
    rejected = len(card["rejects"])
    chips = [
        ("", count(card["prepared"], "clip")),
        ("warn" if rejected else "good", f"{rejected:,} rejected"),
        ("", f"{size:,.1f} MB in {count(len(card['shards']), 'shard')}"),
        ("", f"recipe {card['recipe_hash'][:12]}"),
    ]
    return tag(
        "header",
        tag("p", "HSTA contact sheet", class_="eyebrow"),
        tag("h1", card["dataset"]),
        tag("p", card["manifest"], class_="muted"),
        tag("ul", (tag("li", text, class_=kind or None) for kind, text in chips), class_="chips"),
        class_="top",
    )


def _chosen(root: str, card: Mapping) -> list[PreparedClip]:
    """Clips evenly spaced over the set, one at most of a shard."""
    filled = [shard for shard in card["shards"] if shard["clips"]]
    step = max(1, -(-len(filled) // SAMPLES))
    chosen = []
    for place, shard in enumerate(filled[::step]):
        clip_id = shard["clips"][place % len(shard["clips"])]
        chosen += shards.read_some(root, shard, {clip_id})
    return chosen


def _samples(clips: Sequence[PreparedClip]) -> Markup | None:
    if not clips:
        return None
    flows = [clip.flow[0] for clip in clips]
    scale = pictures.common_scale(flows)
    return section(
        "samples",
        "Prepared clips",
        tag(
            "div",
            pictures.wheel(scale),
            tag("p", f"Hue is the direction of motion, full colour {scale:g} px of the aligned face or more."),
            class_="wheel-key",
        ),
        tag("div", (_sample(clip, flow, scale) for clip, flow in zip(clips, flows)), class_="samples"),
        lead="Aligned, with their motion; evenly chosen.",
    )


def _sample(clip: PreparedClip, flow: np.ndarray, scale: float) -> Markup:
    name = clip.clip.clip_id
    cells = (
        ("onset", pictures.face(clip.frames[0], alt=f"Onset frame of clip {name}")),
        ("apex", pictures.face(clip.frames[clip.frame_numbers.index(clip.apex)], alt=f"Apex frame of clip {name}")),
        (clip.flow_pairs[0], pictures.flow_picture(flow, scale, alt=f"Flow {clip.flow_pairs[0]} of clip {name}")),
    )
    labels = ", ".join(clip.clip.labels.values())
    still = f"residual motion {clip.quality.residual_motion_px:.2f} px, face score {clip.quality.face_score:.2f}"
    return tag(
        "figure",
        tag("figcaption", tag("strong", name), tag("span", f"{labels}; subject {clip.clip.subject}; {still}")),
        tag("div", (tag("div", picture, tag("span", title)) for title, picture in cells), class_="row"),
        tag("div", pictures.strip(clip.frames, alt=f"Frames of clip {name}, onset to offset"), class_="film"),
        class_="sample",
    )


def _rejects(root: str, rejects: Sequence[Mapping]) -> Markup:
    if not rejects:
        return section("rejected", "Rejected clips", tag("p", "None.", class_="muted"))
    reasons = Counter(row["reason"] for row in rejects)
    more = len(rejects) - REJECTS_LISTED
    shown = [(row, picture) for row in _spread(rejects) if (picture := _onset_picture(row)) is not None]
    return section(
        "rejected",
        "Rejected clips",
        table(
            "Reasons",
            ("reason", "clips", "meaning"),
            ((reason, f"{number:,}", REASONS.get(reason, "")) for reason, number in reasons.most_common()),
            numeric=(1,),
        ),
        tag("div", (_reject(row, picture) for row, picture in shown), class_="samples") if shown else None,
        table(
            "Every clip" if more <= 0 else f"The first {REJECTS_LISTED}; all are in rejects.parquet",
            ("clip", "reason", "detail"),
            ((row["clip_id"], row["reason"], row["detail"]) for row in rejects[:REJECTS_LISTED]),
        ),
        lead=f"{count(len(rejects), 'clip')} could not be prepared; nothing was put in their place.",
    )


def _reject(row: Mapping, picture: Markup) -> Markup:
    caption = tag("figcaption", tag("strong", row["clip_id"]), tag("span", row["reason"], class_="verdict bad"))
    return tag("figure", caption, tag("div", tag("div", picture, tag("span", "onset")), class_="row"), class_="sample")


def _spread(rejects: Sequence[Mapping]) -> list[Mapping]:
    """Up to `REJECTS_PICTURED` rejected clips, of as many reasons as there are."""
    by_reason: dict[str, list[Mapping]] = {}
    for row in rejects:
        by_reason.setdefault(row["reason"], []).append(row)
    turns = max(map(len, by_reason.values()))
    mixed = [
        rows[turn] for turn in range(min(turns, REJECTS_PICTURED)) for rows in by_reason.values() if turn < len(rows)
    ]
    return mixed[:REJECTS_PICTURED]


def _onset_picture(row: Mapping) -> Markup | None:
    """The onset frame of a rejected clip as it is stored, where there is one to be seen."""
    from hsta.vision.errors import ClipError
    from hsta.vision.frames import decode_frames, is_video, read_clip

    if row["reason"] == "crashed" or is_video(row["path"]):  # not again; and a recording is not read for a picture
        return None
    try:
        _, image = next(decode_frames(read_clip(row["path"], row["onset"], row["onset"])))
    except (ClipError, OSError):
        return None
    return pictures.face(image, alt=f"Onset frame of rejected clip {row['clip_id']}")
