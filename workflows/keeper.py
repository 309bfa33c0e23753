"""A fold's files, kept up to date from a thread of their own, so that training does not wait for storage.

    checkpoint.pt    while the fold trains: all that it needs to go on; the latest only
    progress.json    how far it is, or why it failed; for `workflows.status`

A file is replaced whole or not at all. Where storage is slower than training, the checkpoints between are left out.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from hsta import storage
from hsta.errors import InputError
from workflows.tracking import Tracker

PROGRESS_SECONDS = 10.0  # progress is written at most so often
FRUITLESS = 3  # attempts that die one after another without a new checkpoint, after which a fold has failed


class Keeper:
    """Keeps the files of one attempt at a fold.

    Args:
        place: gives the URL of one of the fold's files.
        facts: what every ``progress.json`` of this attempt says: fold, seed, epochs, submission.
        history: results of the epochs so far, to which training appends.
        trackers: are given the whole history with every checkpoint, and at the end.

    Attributes:
        fruitless: earlier attempts of this submission that ended here, without a new checkpoint and without a word.
        checkpoint_seconds: what writing the last checkpoint took.
    """

    def __init__(
        self, place: Callable[[str], str], facts: Mapping, history: list[dict], trackers: Sequence[Tracker] = ()
    ):
        self._place, self._history, self._trackers = place, history, trackers
        self._waiting: dict[str, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._closed, self._error = False, None
        self._written = time.monotonic()
        attempt = _attempt(place("progress.json"), facts["submission"], len(history))
        self._facts = {**facts, **attempt, "started": time.time(), "host": socket.gethostname()}
        self.fruitless, self.checkpoint_seconds = attempt["fruitless"], 0.0
        self._write_progress(list(history), "running", None)
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def follow(self, history: list[dict]) -> None:
        """Tell of this history from now on."""
        self._history = history

    def checkpoint(self, state: Mapping) -> None:
        """Have a checkpoint written. ``state`` may change as soon as this returns. Raises what went wrong before."""
        copy = _copied(state)

        def write() -> None:
            began = time.monotonic()
            save_tensors(self._place("checkpoint.pt"), copy)
            self.checkpoint_seconds = time.monotonic() - began

        self._put("checkpoint", write)
        self._put("curves", lambda: self._track(copy["history"]))
        self.progress(at_once=True)

    def progress(self, *, at_once: bool = False) -> None:
        """Have the progress written, if it is time to."""
        if at_once or time.monotonic() - self._written > PROGRESS_SECONDS:
            self._written = time.monotonic()
            history = list(self._history)
            self._put("progress", lambda: self._write_progress(history, "running", None))

    def close(self, *, cause: str | None = None) -> None:
        """Wait until everything is written, and end; with the ``cause`` of a fold that failed.

        Raises:
            Exception: what went wrong with a checkpoint, unless the fold has failed anyhow.
        """
        history = list(self._history)
        if history:
            self._put("curves", lambda: self._track(history), anyhow=True)
        if cause is not None:
            self._put("progress", lambda: self._write_progress(history, "failed", cause), anyhow=True)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._error is not None and cause is None:
            raise self._error

    def _put(self, kind: str, write: Callable[[], None], *, anyhow: bool = False) -> None:
        with self._changed:
            if self._error is not None and not anyhow:
                raise self._error
            self._waiting[kind] = write
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                kind = next(iter(self._waiting))
                write = self._waiting.pop(kind)
            try:
                write()
            except Exception as error:  # it is raised where training next looks; only checkpoints are worth that
                if kind == "checkpoint":
                    self._error = error

    def _write_progress(self, history: Sequence[Mapping], state: str, cause: str | None) -> None:
        recent = [epoch["seconds"] for epoch in history[-20:]]
        progress = self._facts | {
            "state": state,
            "epoch": history[-1]["epoch"] if history else 0,
            "figures": history[-1] if history else {},
            "seconds_per_epoch": sum(recent) / len(recent) if recent else None,
            "updated": time.time(),
            "cause": cause,
        }
        try:
            storage.write_json(self._place("progress.json"), progress)
        except (OSError, InputError):
            pass  # the next one will tell; a store that stays away stops the checkpoints

    def _track(self, history: Sequence[Mapping]) -> None:
        for tracker in self._trackers:
            tracker.record(history)


def write_failure(place: Callable[[str], str], facts: Mapping, cause: str) -> None:
    """Mark a fold as failed from outside its process, which is gone; the rest of its progress stays."""
    url = place("progress.json")
    before = storage.read_json(url) if storage.exists(url) else dict(facts)
    storage.write_json(url, before | {"state": "failed", "cause": cause, "updated": time.time()})


def _attempt(url: str, submission: str, epochs: int) -> dict:
    """Which attempt this is, where it begins, and how many before it, of the same submission, came no further."""
    try:
        before = storage.read_json(url)
    except FileNotFoundError:
        return {"attempt": 1, "began_at": epochs, "fruitless": 0}
    same = before["submission"] == submission and before["began_at"] == epochs
    return {
        "attempt": before["attempt"] + 1,
        "began_at": epochs,
        "fruitless": before["fruitless"] + 1 if same else 0,
    }


def save_tensors(url: str, value: Mapping) -> None:
    """Save tensors and plain values, atomically."""
    import torch

    with tempfile.TemporaryFile() as file:
        torch.save(value, file)
        storage.upload(file, url)


def load_tensors(url: str) -> dict:
    """Load what `save_tensors` wrote; nothing is unpickled but tensors and plain values. Raises FileNotFoundError."""
    import torch

    with storage.local_copy(url) as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _copied(value):
    """A copy on the host that shares no memory with ``value``."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    return value
