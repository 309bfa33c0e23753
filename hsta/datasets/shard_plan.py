"""Which shards a manifest is prepared into, and what changed since the last time.

A shard's name and content follow from its clips' annotations, the versions of their sources and the recipe, not from
the number of workers or their timing; its name carries a hash of them. So every shard file is written once: whoever
makes it makes the same, a shard of another recipe, manifest or source never takes its place, and two runs on one output
cannot spoil it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from hsta import storage
from hsta.records import Clip

SCHEMA_VERSION = "2"
PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One shard to make.

    Attributes:
        name: its place under the prepared set, without suffix.
        clips: what it holds, of one subject.
        sources: fingerprint of each clip's source when it was planned ("" where none was taken).
        content_hash: hash of all that its content follows from.
    """

    name: str
    clips: tuple[Clip, ...]
    sources: tuple[str, ...]
    content_hash: str


def plan_shards(
    clips: Sequence[Clip],
    *,
    recipe_hash: str,
    clips_per_shard: int,
    sources: Mapping[tuple[str, str], str] | None = None,
    clip_bytes: Callable[[Clip], int] = lambda clip: 0,
    max_bytes: int = 1 << 62,
) -> tuple[ShardPlan, ...]:
    """Divide clips into shards of one subject each, in the manifest's order; clips of one path stand together, by their
    onsets.

    Args:
        clips_per_shard, max_bytes: a shard is closed before it would exceed either; one clip always fits.
        sources: fingerprint by (dataset, clip_id).
        clip_bytes: size of a prepared clip before compression.
    """
    by_subject: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        by_subject.setdefault((clip.dataset, clip.subject), []).append(clip)
    plans = []
    for (dataset, subject), members in by_subject.items():
        for number, part in enumerate(_parts(_by_path(members), clips_per_shard, clip_bytes, max_bytes)):
            versions = tuple((sources or {}).get((clip.dataset, clip.clip_id), "") for clip in part)
            facts = json.dumps([recipe_hash, SCHEMA_VERSION, [asdict(clip) for clip in part], versions], sort_keys=True)
            content_hash = hashlib.sha256(facts.encode()).hexdigest()
            name = f"{safe_name(dataset)}/{safe_name(subject)}/{number:05d}-{content_hash[:12]}"
            plans.append(ShardPlan(name=name, clips=part, sources=versions, content_hash=content_hash))
    return tuple(plans)


def safe_name(text: str) -> str:
    """``text`` as one path segment; texts that differ give names that differ."""
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return clean if clean == text else f"{clean}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_plan(root: str, plans: Sequence[ShardPlan], *, recipe_hash: str, recipe: Mapping) -> None:
    """Write what is going to be prepared, before it is: the recipe, and the annotation and source of every clip."""
    storage.write_json(
        storage.join(root, PLAN_FILE), {"recipe_hash": recipe_hash, "recipe": recipe, "clips": _facts(plans)}
    )


def read_plan(root: str) -> dict | None:
    """What the last run on this output was going to prepare; None where there was none."""
    try:
        return storage.read_json(storage.join(root, PLAN_FILE))
    except FileNotFoundError:
        return None


def changes(before: Mapping, plans: Sequence[ShardPlan]) -> dict[str, list[str]]:
    """What became of the clips of an earlier plan (`read_plan`): clip ids by "added", "removed", "annotation changed"
    and "source changed"; only those that are not empty."""
    then, now = before["clips"], _facts(plans)
    found = {
        "added": [key for key in now if key not in then],
        "removed": [key for key in then if key not in now],
        "annotation changed": [key for key in now if key in then and now[key][0] != then[key][0]],
        "source changed": [key for key in now if key in then and now[key][1] != then[key][1]],
    }
    return {what: [key.partition("/")[2] for key in keys] for what, keys in found.items() if keys}


def _facts(plans: Sequence[ShardPlan]) -> dict[str, list[str]]:
    return {
        f"{safe_name(clip.dataset)}/{clip.clip_id}": [
            hashlib.sha256(json.dumps(asdict(clip), sort_keys=True).encode()).hexdigest()[:16],
            source,
        ]
        for plan in plans
        for clip, source in zip(plan.clips, plan.sources)
    }


def _by_path(clips: Sequence[Clip]) -> list[Clip]:
    place: dict[str, int] = {}
    for clip in clips:
        place.setdefault(clip.path, len(place))
    return sorted(clips, key=lambda clip: (place[clip.path], clip.onset))


def _parts(
    clips: Sequence[Clip], clips_per_shard: int, clip_bytes: Callable[[Clip], int], max_bytes: int
) -> list[tuple[Clip, ...]]:
    parts: list[list[Clip]] = []
    room = 0
    for clip in clips:
        size = clip_bytes(clip)
        if not parts or len(parts[-1]) == clips_per_shard or size > room:
            parts.append([])
            room = max_bytes
        parts[-1].append(clip)
        room -= size
    return [tuple(part) for part in parts]
