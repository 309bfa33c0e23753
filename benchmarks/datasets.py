"""How fast a data set's tree is listed, and how many requests that takes.

On disk: a tree of empty frame files is made and listed; every folder must be scanned once, and no file opened. With
--store, two trees that differ only in their frames a clip are put there and listed; the requests are counted as they
leave this process, and must follow the folders and the pages of names, not the frames.

examples: python -m benchmarks.datasets                                     10,000 clips of 100 frames on disk python -m
  benchmarks.datasets --store s3://bucket/listing         credentials and endpoint as usual, AWS_ENDPOINT_URL_S3 python
  -m benchmarks.datasets --clips 500 --json datasets.json

exit status: 0 one pass and as many requests as expected; 1 more; 2 bad input
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from hsta import storage
from hsta.datasets.listing import list_frames
from hsta.errors import InputError

SUBJECTS = 20
PAGE = 1000  # names in one answer of S3's ListObjectsV2


def on_disk(clips: int, frames: int, folder: Path) -> dict:
    """Make a tree of empty files, list it three times, and count the folders scanned and the files opened."""
    for clip in range(clips):
        place = folder / f"sub{clip % SUBJECTS:02d}" / f"EP{clip:05d}"
        place.mkdir(parents=True)
        for frame in range(frames):
            os.close(os.open(place / f"img{frame}.jpg", os.O_CREAT | os.O_WRONLY))
    events: Counter = Counter()

    def watch(event: str, arguments: tuple) -> None:
        if event in ("os.scandir", "open", "os.listdir") and str(folder) in str(arguments[0]):
            events[event] += 1

    sys.addaudithook(watch)
    seconds = []
    for _ in range(3):
        events.clear()
        started = time.perf_counter()
        listing = list_frames(str(folder))
        seconds.append(time.perf_counter() - started)
    assert listing.frames == clips * frames and len(listing.folders) == clips
    return {
        "clips": clips,
        "frames": listing.frames,
        "folders": clips + min(SUBJECTS, clips) + 1,
        "folders_scanned": events["os.scandir"],
        "files_opened": events["open"],
        "seconds": [round(one, 3) for one in seconds],
        "frames_per_second": round(listing.frames / min(seconds)),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def on_store(clips: int, frames: int, url: str) -> dict:
    """Put a tree of one-byte objects on a store, list it, count the requests, and delete it."""
    root = storage.join(url, uuid.uuid4().hex)
    storage.exists(url)  # says so when the store cannot be reached
    fs, path = storage.filesystem(root)
    names = [
        f"{path}/sub{clip % SUBJECTS:02d}/EP{clip:05d}/img{frame}.jpg"
        for clip in range(clips)
        for frame in range(frames)
    ]
    fs.pipe({name: b"x" for name in names})
    requests = _count_requests(fs)
    try:
        started = time.perf_counter()
        listing = list_frames(root)
        seconds = time.perf_counter() - started
        made = dict(requests)
    finally:
        fs.rm(path, recursive=True)
    assert listing.frames == clips * frames and len(listing.folders) == clips
    subjects = min(SUBJECTS, clips)
    pages = sum(-(-frames * len(range(subject, clips, SUBJECTS)) // PAGE) for subject in range(subjects))
    return {
        "clips": clips,
        "frames": listing.frames,
        "expected": 1 + pages,  # the upper folder, then pages of names of each subject
        "requests": sum(made.values()),
        "by_kind": made,
        "seconds": round(seconds, 3),
        "frames_per_second": round(listing.frames / seconds),
    }


def _count_requests(fs) -> Counter:
    """Counts requests by operation, where they leave the client."""
    counts, lock = Counter(), threading.Lock()

    def count(request, event_name: str, **_) -> None:
        with lock:
            counts[event_name.rpartition(".")[2]] += 1

    if not hasattr(fs, "s3"):
        raise InputError("requests are counted for S3 only", where="--store", cure="give an s3:// URL")
    fs.s3.meta.events.register("before-send.s3", count)
    return counts


def main(arguments: list[str] | None = None) -> int:
    """Run and print. Returns the exit status."""
    summary, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.datasets",
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clips", type=int, default=10_000, metavar="N", help="clips on disk (10,000)")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="frames a clip (100)")
    parser.add_argument("--store", metavar="URL", help="an s3:// folder to write to and list")
    parser.add_argument("--store-clips", type=int, default=200, metavar="N", help="clips on the store (200)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            disk = on_disk(options.clips, options.frames, Path(folder))
        stores = (
            [on_store(options.store_clips, frames, options.store) for frames in (10, options.frames)]
            if options.store
            else []
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = {"disk": disk, "store": stores}
    print(json.dumps(found, indent=2))
    if options.json:
        storage.write_json(options.json, found)
    good = disk["folders_scanned"] == disk["folders"] and not disk["files_opened"]
    return 0 if good and all(one["requests"] <= one["expected"] + 1 for one in stores) else 1


if __name__ == "__main__":
    raise SystemExit(main())
