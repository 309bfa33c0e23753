"""Raw clips to Parquet shards: Ray Data over the manifest, CPU actors that align faces and measure their motion.

Reads the manifest that data.manifest names, and writes the prepared set to data.prepared: shards of aligned frames, optical
flow, landmarks and quality, an index, a card, and the rejected clips with their reasons. A clip that cannot be prepared stops
nothing. The same command again continues: shards that are done stay as they are.

examples:
  python -m workflows.prepare --config configs/demo.yaml
  python -m workflows.prepare --config my.yaml --set data.manifest=clips.csv --set prepare.actors=16
  ray job submit --working-dir . -- python -m workflows.prepare --config my.yaml

exit status: 0 done; 1 a larger share of clips was rejected than prepare.max_rejected; 2 bad input, with the cure
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from hsta import storage
from hsta.datasets import shards
from hsta.errors import InputError
from hsta.records import Clip
from hsta.vision.recipe import PrepareRecipe
from workflows import command, engine, settings
from workflows.config import Config
from workflows.progress import Progress


class ShardMaker:
    """A CPU actor: prepares the clips of one shard after another, each single-threaded, and writes the shard."""

    def __init__(self, root: str, plans: Sequence[shards.ShardPlan], recipe: PrepareRecipe):
        import cv2

        from hsta.vision.faces import FaceFinder

        cv2.setNumThreads(1)
        self._root, self._plans, self._recipe, self._finder = root, plans, recipe, FaceFinder()

    def __call__(self, batch: dict) -> dict:
        from hsta.vision.clip import prepare_clip

        receipts = []
        for number in batch["plan"]:
            plan = self._plans[number]
            results = (prepare_clip(clip, self._recipe, self._finder) for clip in plan.clips)
            receipts.append(json.dumps(shards.write_shard(self._root, plan, results)))
        return {"receipt": receipts}


def run(config: Config) -> int:
    """Prepare the manifest's clips. Returns the exit status."""
    from hsta.datasets.manifest import read_manifest
    from hsta.vision.recipe import recipe_hash

    data = config.data
    clips = read_manifest(data.manifest, dataset=data.dataset, label_set=data.label_set, classes=config.classes)
    root = storage.absolute(data.prepared)
    storage.ensure_writable(root)
    recipe = recipe_hash(config.vision)
    if not config.prepare.force:
        _refuse_other_recipe(root, config.vision, recipe)
    plans = shards.plan_shards(clips, recipe_hash=recipe, clips_per_shard=config.prepare.clips_per_shard)
    receipts = {} if config.prepare.force else _done(root, plans)
    pending = [plan for plan in plans if plan.name not in receipts]
    kept = sum(len(plan.clips) for plan in plans) - sum(len(plan.clips) for plan in pending)
    print(f"prepare: {len(clips)} clips in {len(plans)} shards -> {data.prepared}; {kept} clips are done", flush=True)
    if pending:
        with engine.ray_session():
            for receipt in _make(root, pending, config):
                receipts[receipt["name"]] = receipt
    card = shards.finish(root, receipts=[receipts[plan.name] for plan in plans], card=_card(config, clips, recipe))
    return _summary(card, clips, config)


def _make(root: str, plans: Sequence[shards.ShardPlan], config: Config):
    import ray

    actors = min(len(plans), config.prepare.actors or engine.cluster_cpus())
    made = ray.data.from_items([{"plan": number} for number in range(len(plans))], override_num_blocks=len(plans)).map_batches(
        ShardMaker,
        fn_constructor_args=(root, plans, config.vision),
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
    )
    progress = Progress("prepare", sum(len(plan.clips) for plan in plans), "clips")
    progress.update(0, "starting the actors")
    done = rejected = 0
    for row in made.iter_rows():
        receipt = json.loads(row["receipt"])
        rejected += len(receipt["rejects"])
        done += len(receipt["clips"]) + len(receipt["rejects"])
        progress.update(done, f"{rejected} rejected" if rejected else "")
        yield receipt
    progress.close()


def _done(root: str, plans: Sequence[shards.ShardPlan]) -> dict[str, dict]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=16) as pool:
        receipts = pool.map(lambda plan: shards.read_receipt(root, plan), plans)
        return {receipt["name"]: receipt for receipt in receipts if receipt is not None}


def _refuse_other_recipe(root: str, recipe: PrepareRecipe, recipe_hash: str) -> None:
    try:
        card = shards.read_card(root)
    except InputError:
        return
    if card["recipe_hash"] != recipe_hash:
        now, before = settings.plain(recipe), card["recipe"]
        changed = [f"{key}: {before.get(key)} -> {now.get(key)}" for key in {**before, **now} if before.get(key) != now.get(key)]
        raise InputError(
            f"this set was prepared with another recipe ({'; '.join(changed) or 'other models or another version'})",
            where=root,
            cure="choose another data.prepared, or replace this set with --set prepare.force=true",
        )


def _card(config: Config, clips: Sequence[Clip], recipe_hash: str) -> dict:
    from hsta import __version__
    from hsta.environment import package_versions

    manifest = storage.read_bytes(config.data.manifest)
    return {
        "dataset": config.data.dataset,
        "label_set": config.data.label_set,
        "classes": list(config.classes),
        "manifest": storage.absolute(config.data.manifest),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "clips": len(clips),
        "recipe": settings.plain(config.vision),
        "recipe_hash": recipe_hash,
        "versions": {"hsta-workflow": __version__, **package_versions("opencv-contrib-python-headless", "decord", "pyarrow", "numpy")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _summary(card: dict, clips: Sequence[Clip], config: Config) -> int:
    rejects = card["rejects"]
    size = sum(shard["bytes"] for shard in card["shards"]) / 1e6
    print(f"prepare: {card['prepared']} clips prepared, {len(rejects)} rejected, {size:.1f} MB in {len(card['shards'])} shards", flush=True)
    rows = {(clip.dataset, clip.clip_id): number for number, clip in enumerate(clips, start=2)}
    for reject in rejects:
        row = rows[reject["dataset"], reject["clip_id"]]
        print(
            f"rejected: {config.data.manifest}, row {row}, clip '{reject['clip_id']}': {reject['reason']}: {reject['detail']}\n"
            f"  cure: repair {reject['path']} or the row, then run the same command again",
            file=sys.stderr,
            flush=True,
        )
    if len(rejects) > config.prepare.max_rejected * len(clips):
        print(
            f"error: {len(rejects)} of {len(clips)} clips were rejected, more than prepare.max_rejected = "
            f"{config.prepare.max_rejected:g} of them\n  cure: see the reasons above; --set prepare.max_rejected=1 accepts any share",
            file=sys.stderr,
            flush=True,
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(command.main("prepare", __doc__, run))
