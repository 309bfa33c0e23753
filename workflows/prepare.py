"""Raw clips to Parquet shards: Ray Data over the manifest, CPU actors that align faces and measure their motion.

Reads the manifest that data.manifest names, and writes the prepared set to data.prepared: shards of aligned frames,
optical flow, landmarks and quality, an index, a card, the rejected clips with their reasons, and a contact sheet. Both
are paths or URLs (s3://...). A clip that cannot be prepared stops nothing. Killed at any moment, the same command
continues: shards that are done stay as they are.

examples:
  python -m workflows.prepare --config configs/demo.yaml
  python -m workflows.prepare --config my.yaml --set data.manifest=s3://raw/clips.csv
  python -m workflows.prepare --config my.yaml --verify
  ray job submit --working-dir . -- python -m workflows.prepare --config my.yaml

exit status: 0 done; 1 a larger share of clips was rejected than prepare.max_rejected, or any with --strict;
2 bad input or storage that cannot be reached, with the cure
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from hsta import storage
from hsta.datasets import shard_plan, shards
from hsta.datasets.shard_plan import ShardPlan
from hsta.errors import InputError
from hsta.records import Clip
from hsta.vision.recipe import PrepareRecipe, recipe_hash
from workflows import command, engine, settings
from workflows.config import Config
from workflows.prepare_run import Made, make_shards, verify_shards
from workflows.progress import clock
from workflows.shard_maker import STAGES

FLAGS = {
    "--verify": ("prepare.verify", "read finished shards again and make damaged ones anew"),
    "--force": ("prepare.force", "start over"),
    "--strict": ("prepare.strict", "fail where any clip is rejected"),
}
SHOWN = 50  # rejected clips that are printed; all are in rejects.parquet


def run(config: Config) -> int:
    """Prepare the manifest's clips. Returns the exit status."""
    from hsta.datasets.manifest import read_manifest

    started = datetime.now(UTC)
    data, how = config.data, config.prepare
    clips = read_manifest(data.manifest, dataset=data.dataset, label_set=data.label_set, classes=config.classes)
    root = storage.absolute(data.prepared)
    storage.ensure_writable(root)
    storage.sweep_temporary(root)
    plans = _plan(clips, config)
    _compare_with_before(root, plans, config.vision, force=how.force)
    if how.force:
        _start_over(root)
    shard_plan.write_plan(root, plans, recipe_hash=recipe_hash(config.vision), recipe=settings.plain(config.vision))
    receipts = {} if how.force else _done(root, plans)
    kept = sum(len(plan.clips) for plan in plans if plan.name in receipts)
    print(f"prepare: {len(clips)} clips in {len(plans)} shards -> {data.prepared}; {kept} clips are done", flush=True)
    made = Made()
    if len(receipts) < len(plans) or how.verify:
        with engine.ray_session():
            made.ray_seconds = (datetime.now(UTC) - started).total_seconds()
            if how.verify:
                _drop_damaged(root, receipts)
            pending = [plan for plan in plans if plan.name not in receipts]
            for receipt in make_shards(root, pending, how, config.vision, made):
                receipts[receipt["name"]] = receipt
            if len(receipts) < len(plans):  # whatever an actor finished before it died
                receipts |= _done(root, [plan for plan in plans if plan.name not in receipts])
            left = [plan for plan in plans if plan.name not in receipts]
            for receipt in make_shards(root, left, how, config.vision, made, apart=True):
                receipts[receipt["name"]] = receipt
    ordered = _all(root, plans, receipts)
    card = shards.make_card(ordered, _facts(config, clips))
    if made.shards or how.verify or not _is_finished(root, card):
        shards.finish(root, ordered, card)
        if made.shards:
            _write_contact_sheet(root, card)
            storage.write_json(storage.join(root, "run-info.json"), _run_info(made, started))
    return _summary(card, clips, config, made)


def _plan(clips: Sequence[Clip], config: Config) -> tuple[ShardPlan, ...]:
    """The shards to make; looks once at every folder, video and archive for what tells its versions apart."""
    by_path: dict[str, list[Clip]] = {}
    for clip in clips:
        by_path.setdefault(clip.path, []).append(clip)
    with ThreadPoolExecutor(max_workers=32) as pool:
        sources = {key: source for found in pool.map(_fingerprints, by_path.values()) for key, source in found.items()}
    return shard_plan.plan_shards(
        clips,
        recipe_hash=recipe_hash(config.vision),
        clips_per_shard=config.prepare.clips_per_shard,
        sources=sources,
        clip_bytes=lambda clip: _prepared_bytes(clip, config.vision),
        max_bytes=config.prepare.max_shard_mb << 20,
    )


def _fingerprints(clips: Sequence[Clip]) -> dict[tuple[str, str], str]:
    from hsta.vision.frames import ClipReader

    reader = ClipReader(())
    return {(clip.dataset, clip.clip_id): reader.fingerprint(clip.path, clip.onset, clip.offset) for clip in clips}


def _prepared_bytes(clip: Clip, recipe: PrepareRecipe) -> int:
    """Size of a prepared clip before compression: frames of 3 bytes and flow fields of 4 bytes a pixel."""
    frames = recipe.interpolate or clip.offset - clip.onset + 1
    return recipe.size**2 * (3 * frames + 4 * len(recipe.flow_names))


def _compare_with_before(root: str, plans: Sequence[ShardPlan], recipe: PrepareRecipe, *, force: bool) -> None:
    """Name what changed since the last run; refuse to replace what another recipe made."""
    before = shard_plan.read_plan(root)
    if before is None:
        return
    if before["recipe_hash"] != recipe_hash(recipe) and not force:
        now, then = settings.plain(recipe), before["recipe"]
        names = {**then, **now}
        changed = [f"{name}: {then.get(name)} -> {now.get(name)}" for name in names if then.get(name) != now.get(name)]
        raise InputError(
            f"this set was prepared with another recipe ({'; '.join(changed) or 'other models or another version'})",
            where=root,
            cure="choose another data.prepared, or replace this set with --force",
        )
    for what, names in shard_plan.changes(before, plans).items():
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        print(f"prepare: since the last run: {what}: {', '.join(names[:5])}{more}", flush=True)


def _start_over(root: str) -> None:
    """Delete the card, then all shards and receipts, whatever they were made from."""
    storage.delete(storage.join(root, shards.CARD_FILE))
    names = [name for name in storage.find(root) if shards.is_shard_file(name)]
    with ThreadPoolExecutor(max_workers=32) as pool:
        list(pool.map(lambda name: storage.delete(storage.join(root, name)), names))


def _done(root: str, plans: Sequence[ShardPlan]) -> dict[str, dict]:
    with ThreadPoolExecutor(max_workers=32) as pool:
        receipts = pool.map(lambda plan: shards.read_receipt(root, plan), plans)
        return {receipt["name"]: receipt for receipt in receipts if receipt is not None}


def _drop_damaged(root: str, receipts: dict[str, dict]) -> None:
    """Verify the shards; name the damaged ones and forget their receipts, so that they are made again."""
    problems = verify_shards(root, list(receipts.values()))
    for name, problem in problems:
        print(f"damaged: {storage.join(root, name)}.parquet {problem}; it is made again", file=sys.stderr, flush=True)
        storage.delete(storage.join(root, name + ".json"))
        del receipts[name]
    print(f"prepare: {len(receipts) + len(problems)} shards verified, {len(problems)} damaged", flush=True)


def _all(root: str, plans: Sequence[ShardPlan], receipts: dict[str, dict]) -> list[dict]:
    missing = [plan.name for plan in plans if plan.name not in receipts]
    if missing:
        raise InputError(
            f"{len(missing)} shards could not be made, their actors ended again and again: {', '.join(missing[:3])}",
            where=root,
            cure="see Ray's logs for the cause (too little memory? raise prepare.memory_mb), then run it again",
        )
    return [receipts[plan.name] for plan in plans]


def _facts(config: Config, clips: Sequence[Clip]) -> dict:
    """What the card says besides the shards. Nothing in it depends on when or how often the command was run."""
    from hsta import __version__
    from hsta.environment import package_versions

    packages = package_versions("opencv-contrib-python-headless", "decord", "pyarrow", "numpy")
    return {
        "dataset": config.data.dataset,
        "label_set": config.data.label_set,
        "classes": list(config.classes),
        "manifest": storage.absolute(config.data.manifest),
        "manifest_sha256": hashlib.sha256(storage.read_bytes(config.data.manifest)).hexdigest(),
        "clips": len(clips),
        "recipe": settings.plain(config.vision),
        "recipe_hash": recipe_hash(config.vision),
        "versions": {"hsta-workflow": __version__, **packages},
    }


def _is_finished(root: str, card: dict) -> bool:
    """Whether the set's card says already what is true now."""
    try:
        return shards.read_card(root) == card
    except InputError as error:
        if isinstance(error, storage.Unreachable):
            raise
        return False


def _write_contact_sheet(root: str, card: dict) -> None:
    from hsta.report.contact_sheet import contact_sheet

    storage.write_bytes(storage.join(root, "contact_sheet.html"), contact_sheet(root, card).encode())


def _run_info(made: Made, started: datetime) -> dict:
    """How this run went; beside the card, which is the same for every run."""
    from hsta.environment import commit, hardware

    return {
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
        "ray_start_seconds": round(made.ray_seconds, 3),
        "actor_start_seconds": round(made.start_seconds, 3),
        "making_seconds": round(made.seconds, 3),
        "making": [round(made.began, 3), round(made.ended, 3)],
        "actors": made.actors,
        "shards_made": made.shards,
        "clips_made": made.clips,
        "stage_seconds": {stage: round(made.effort[stage], 3) for stage in (*STAGES, "whole")},
        "video_frames_decoded": int(made.effort["video_frames"]),
        "commit": commit(),
        "hardware": hardware(),
    }


def _summary(card: dict, clips: Sequence[Clip], config: Config, made: Made) -> int:
    """Say what there is, where the time went, and what was rejected. Returns the exit status."""
    rejects = card["rejects"]
    size = sum(shard["bytes"] for shard in card["shards"]) / 1e6
    counts = f"{card['prepared']} clips prepared, {len(rejects)} rejected"
    print(f"prepare: {counts}, {size:.1f} MB in {len(card['shards'])} shards", flush=True)
    if made.clips:
        _print_stages(made)
    rows = {(clip.dataset, clip.clip_id): number for number, clip in enumerate(clips, start=2)}
    for reject in rejects[:SHOWN]:
        row = rows[reject["dataset"], reject["clip_id"]]
        _say(
            f"rejected: {config.data.manifest}, row {row}, clip '{reject['clip_id']}': "
            f"{reject['reason']}: {reject['detail']}\n"
            f"  cure: repair {reject['path']} or the row, then run the same command again"
        )
    if len(rejects) > SHOWN:
        _say(f"rejected: and {len(rejects) - SHOWN} more, see {storage.join(config.data.prepared, 'rejects.parquet')}")
    if config.prepare.strict and rejects:
        _say(
            f"error: {len(rejects)} of {len(clips)} clips were rejected, and prepare.strict allows none\n"
            "  cure: see above"
        )
        return 1
    if len(rejects) > config.prepare.max_rejected * len(clips):
        _say(
            f"error: {len(rejects)} of {len(clips)} clips were rejected, more than prepare.max_rejected = "
            f"{config.prepare.max_rejected:g} of them\n"
            "  cure: see the reasons above; --set prepare.max_rejected=1 accepts any share"
        )
        return 1
    return 0


def _print_stages(made: Made) -> None:
    """A table of what the actors' time went into."""
    whole = made.effort["whole"]
    rate = made.clips / made.seconds if made.seconds else 0.0
    lines = [f"{'stage':<10}{'seconds':>10}{'share':>8}{'ms/clip':>9}"]
    shown = [(stage, made.effort[stage]) for stage in STAGES if made.effort[stage] > 0]
    for stage, seconds in [*shown, ("other", whole - sum(seconds for _, seconds in shown)), ("whole", whole)]:
        lines.append(f"{stage:<10}{seconds:>10.2f}{seconds / whole:>8.1%}{1000 * seconds / made.clips:>9.1f}")
    print("\n".join(f"  {line}" for line in lines), flush=True)
    print(f"  {made.clips} clips by {made.actors} actors in {clock(made.seconds)}: {rate:.2f} clips/s", flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(command.main("prepare", __doc__, run, flags=FLAGS))
