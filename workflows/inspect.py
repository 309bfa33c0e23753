"""Read a data set as its owner distributes it, and say what is in it, what is wrong and what can be done with it.

Prints, and writes as inspection.json and inspection.html: clips, subjects, recordings, classes of each label set, the
known release beside what was found, rows that give no clip with their reasons, frame gaps, overlapping clips, sizes and
duplicates on a sample of frames, and which protocols can run. With a root it also writes manifest.csv, which prepare
reads. Nothing in the copy is changed.

examples:
  python -m workflows.inspect --dataset casme2 --annotations CASME2-coding-20140508.xlsx --root /data/CASME2
  python -m workflows.inspect --dataset casme3-a --annotations label_v2.xlsx --root s3://lab/casme3 \\
      --label-set casme3-emotion4
  python -m workflows.inspect --dataset casme3-a --annotations label_v2.xlsx --option corrections=casme3-a-owner-1
  python -m workflows.inspect --dataset megc2019 --annotations combined_3class_gt.csv --root /data \\
      --option casme2=CASME2-coding-20140508.xlsx --option samm=SAMM_Micro_FACS_Codes_v2.xlsx

exit status: 0 done, whether or not the copy agrees with a known release; 2 bad input, with the cure
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import yaml

from hsta import storage
from hsta.datasets import NAMES, read
from hsta.datasets.inspection import inspect_reading
from hsta.datasets.inspection_page import render_inspection
from hsta.datasets.manifest import write_manifest
from hsta.datasets.registry import options_of
from hsta.errors import InputError
from workflows.command import answer

_MOST = 20  # lines of a list that are printed


def run(options: argparse.Namespace) -> int:
    """Inspect one data set. Returns the exit status."""
    folder = storage.absolute(options.output or f"runs/inspect/{options.dataset}")
    reading = read(options.dataset, options.annotations, options.root, **_options(options.option))
    storage.ensure_writable(folder)
    found = inspect_reading(reading, label_set=options.label_set, sample=options.sample)
    if options.root is not None and found["label_set"] and reading.clips:
        url = storage.join(folder, "manifest.csv")
        written = write_manifest(url, reading.clips, label_set=found["label_set"])
        found["manifest"] = {"url": url, "clips": written, "label_set": found["label_set"]}
    storage.write_json(storage.join(folder, "inspection.json"), found)
    storage.write_bytes(storage.join(folder, "inspection.html"), render_inspection(found).encode())
    print(described(found), flush=True)
    print(f"written: {storage.join(folder, 'inspection.json')}, inspection.html", flush=True)
    return 0


def described(found: Mapping) -> str:
    """The inspection as text."""
    lines = [
        f"{found['dataset']}: {found['clips']} clips, {found['subjects']} subjects, {found['recordings']} recordings"
    ]
    if found["frames_a_clip"]:
        frames = found["frames_a_clip"]
        lines.append(f"frames a clip: {frames['least']} to {frames['most']}, median {frames['median']:g}")
    lines.append("frame rates: " + ", ".join(f"{rate} ({count} clips)" for rate, count in found["frame_rates"].items()))
    for name, classes in found["label_sets"].items():
        lines.append(f"{name}: " + ", ".join(f"{one} {_usable(counts)}" for one, counts in classes.items()))
    lines += _about_release(found["known_release"])
    lines += _list(
        "rows that give no clip",
        found["exclusions_by_reason"],
        [f"{one['reason']}: {one['detail']}" for one in found["exclusions"]],
    )
    remarks = [f"{one['code']}: {one['clip_id']}: {one['detail']}" for one in found["remarks"]]
    lines += _list("remarks", found["remarks_by_code"], remarks)
    lines += _list(
        "corrections",
        {},
        [
            f"{one['clip_id']}: {one['field']} {one['as_distributed']} -> {one['corrected']} ({one['source']})"
            for one in found["corrections"]
        ],
    )
    shared = [
        f"{' and '.join(one['clips'])}: frames {one['first']} to {one['last']} of {one['recording']}"
        for one in found["overlaps"]
    ]
    lines += _list("clips with frames in common", {}, shared)
    lines += _list("folders of frames without a row", {}, found["folders_without_row"])
    sample = found["sample"]
    if sample["clips"]:
        sizes = ", ".join(f"{size} ({count})" for size, count in sample["sizes"].items())
        lines.append(f"onset frames read: {sample['clips']}; sizes: {sizes or 'none'}")
        lines += _list("frames with a problem", {}, [f"{one['file']} {one['problem']}" for one in sample["problems"]])
        lines += _list("the same file under several names", {}, [", ".join(one) for one in sample["duplicates"]])
        lines += _list(
            "nearly the same picture of different subjects",
            {},
            [" and ".join(one["clips"]) for one in sample["near_duplicates"]],
        )
    if found["protocols"]:
        lines.append(f"protocols, with label set {found['label_set']}:")
        lines += [
            f"  {one['name']}: {'can run' if one['usable'] else 'cannot run'}: {one['why']}"
            for one in found["protocols"]
        ]
    if "manifest" in found:
        manifest = found["manifest"]
        lines.append(
            f"manifest for prepare: {manifest['url']}, {manifest['clips']} clips, label set {manifest['label_set']}"
        )
    return "\n".join(lines)


def _usable(counts: Mapping[str, int]) -> str:
    left = counts["annotated"] - counts["usable"]
    return f"{counts['usable']}" + (f" (+{left} not usable)" if left else "")


def _about_release(known: Mapping | None) -> list[str]:
    if known is None:
        return ["known release: no counts are known of this data set"]
    if not known["differences"]:
        return [f"known release: agrees with {known['release']} in {len(known['rows'])} figures"]
    return [f"known release: DIFFERS from {known['release']}:"] + [f"  {one}" for one in known["differences"]]


def _list(title: str, counts: Mapping[str, int], entries: Sequence[str]) -> list[str]:
    if not entries:
        return []
    summary = ", ".join(f"{name} {count}" for name, count in counts.items())
    lines = [f"{title}: {len(entries)}" + (f" ({summary})" if summary else "")]
    lines += [f"  {entry}" for entry in entries[:_MOST]]
    return lines + ([f"  and {len(entries) - _MOST} more, in inspection.json"] if len(entries) > _MOST else [])


def _options(assignments: Sequence[str]) -> dict[str, object]:
    options: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"'{assignment}' is not an assignment", where="--option", cure="write --option name=value")
        try:
            options[name] = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise InputError(
                f"the value of '{assignment}' is not YAML: {error}", where="--option", cure="quote it"
            ) from None
    return options


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run. Returns the exit status, 2 after bad input with the message on standard error."""
    summary, _, details = __doc__.partition("\n\n")
    readers = "\n".join(f"  {name}: {', '.join(options_of(name)) or 'none'}" for name in NAMES)
    parser = argparse.ArgumentParser(
        prog="python -m workflows.inspect",
        description=summary,
        epilog=f"{details}\ndata sets and their options:\n{readers}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", required=True, metavar="NAME", help="one of the data sets below")
    parser.add_argument("--annotations", metavar="FILE", help="the annotation file as distributed, path or URL")
    parser.add_argument("--root", metavar="URL", help="folder of the frames; without it the annotations alone are read")
    parser.add_argument(
        "--option", action="append", default=[], metavar="name=value", help="an option of the reader; may be repeated"
    )
    parser.add_argument(
        "--label-set", default="", metavar="NAME", help="label set of the manifest and of the protocols"
    )
    parser.add_argument("--output", metavar="FOLDER", help="where to write; runs/inspect/NAME by default")
    parser.add_argument(
        "--sample", type=int, default=200, metavar="N", help="number of clips whose onset frame is read (200)"
    )
    options = parser.parse_args(arguments)
    return answer(lambda: run(options))


if __name__ == "__main__":
    raise SystemExit(main())
