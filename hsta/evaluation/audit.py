"""The leakage audit: does anything of the held-out people reach training, under whatever name?

Each fold gives every clip a role: train, extra (both are trained on), validation, test. Clips are tied by what they
share: the subject, the recording or file, an overlapping interval of frames, the very same frames. A tie between clips
of different roles is a finding, and each finding names the clips. Every protocol but one is refused on any finding.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hsta.errors import InputError
from hsta.evaluation.splits import PAPER_PROTOCOL, ClipKey, Fold, Split, clip_key, subject_key
from hsta.records import Clip

CHECKS = {
    "subjects": "no subject is both trained on and tested",
    "recordings": "no recording or file is both trained on and tested",
    "intervals": "no frames of one recording are both trained on and tested",
    "duplicates": "no frame is both trained on and tested, under any name",
    "inner-validation": "inner validation shares nothing with training or test",
    "coverage": "every clip is tested exactly once, and every clip is known",
}
_TIES = {
    "subjects": "subject",
    "recordings": "recording",
    "intervals": "overlapping frames of",
    "duplicates": "same frame content",
}
_Groups = Mapping[str, frozenset[ClipKey]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One leak: the check it fails, its fold ("" for the whole split), a sentence, and the clips as
    ``dataset/clip_id``."""

    check: str
    fold: str
    message: str
    clips: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What the audit found.

    Attributes:
        protocol, split_sha256: the split that was audited.
        checks: check name to whether it was made: ``duplicates`` needs content hashes.
        findings: all leaks that count against the split.
        overlap: measured for every split: how many ``test_clips`` there are, and how many of them share ``subject`` or
            ``recording`` with a training clip of their fold. It is 0 wherever the audit passes, except under the
            authors' subject-dependent protocol, where it is reported instead of refused.
    """

    protocol: str
    split_sha256: str
    checks: Mapping[str, bool]
    findings: tuple[Finding, ...]
    overlap: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether the folds may start."""
        return not self.findings

    def to_dict(self) -> dict:
        """As JSON: ``passed, subject_independent, checks, findings, overlap, summary`` and the split's name and
        hash."""
        failed = Counter(finding.check for finding in self.findings)
        return {
            "passed": self.passed,
            "subject_independent": self.protocol != PAPER_PROTOCOL,
            "protocol": self.protocol,
            "split_sha256": self.split_sha256,
            "checks": [
                {"name": name, "rule": CHECKS[name], "made": made, "findings": failed[name]}
                for name, made in self.checks.items()
            ],
            "findings": [
                {"check": f.check, "fold": f.fold, "message": f.message, "clips": list(f.clips)} for f in self.findings
            ],
            "overlap": dict(self.overlap),
            "summary": self.summary(),
        }

    def summary(self) -> str:
        """One sentence to print before the folds start."""
        shared = (
            f"{self.overlap['subject']} of {self.overlap['test_clips']} test clips come from a subject who is also in "
            f"training, {self.overlap['recording']} from the same recording"
        )
        if self.findings:
            return f"Leakage audit FAILED: {len(self.findings)} findings; {shared}"
        if self.protocol == PAPER_PROTOCOL:
            return f"NOT subject-independent ({self.protocol}): {shared}"
        made = sum(self.checks.values())
        return f"Leakage audit passed: {made} of {len(self.checks)} checks made, {shared}"

    def raise_on_failure(self) -> None:
        """Raise InputError that names the clips of the first findings, unless the audit passed."""
        if self.passed:
            return
        shown = [finding.message for finding in self.findings[:5]]
        if len(self.findings) > len(shown):
            shown.append(f"and {len(self.findings) - len(shown)} more findings")
        raise InputError(
            "leakage audit failed:\n  - " + "\n  - ".join(shown),
            where=f"{self.protocol} split {self.split_sha256[:12]}",
            cure="make the split from the clips' true subjects and recordings, and drop duplicates",
        )


def audit(
    split: Split,
    clips: Iterable[Clip],
    *,
    content_hashes: Mapping[ClipKey, str | Iterable[str]] | None = None,
    extra: Iterable[Clip] = (),
) -> AuditReport:
    """Check a split against the clips' own records.

    Args:
        split: its folds' ``train``, ``extra``, ``validation`` and ``test`` are checked against each other.
        clips: records of the protocol's clips.
        content_hashes: for each clip the hash of its pixels, or of each of its frames; None leaves duplicates
            unchecked.
        extra: records of further clips that folds name in ``extra``.

    Raises:
        InputError: content hashes are given but not for every clip.
    """
    clips, extra = list(clips), list(extra)
    known = {clip_key(clip): clip for clip in [*clips, *extra]}
    findings = _coverage(split, [clip_key(clip) for clip in clips], known)
    ties = {
        "subjects": _grouped((subject_key(clip), key) for key, clip in known.items()),
        "recordings": _recordings(known),
    }
    ties["intervals"] = _overlapping(ties["recordings"], known)
    if content_hashes is not None:
        ties["duplicates"] = _same_content(content_hashes, known)
    for fold in split.folds:
        findings += _fold_findings(fold, ties, subject_dependent=split.protocol == PAPER_PROTOCOL)
    return AuditReport(
        protocol=split.protocol,
        split_sha256=split.sha256,
        checks={name: name != "duplicates" or content_hashes is not None for name in CHECKS},
        findings=tuple(findings),
        overlap=_measure(split, ties),
    )


def _fold_findings(fold: Fold, ties: Mapping[str, _Groups], *, subject_dependent: bool) -> list[Finding]:
    trained, validated, tested = frozenset(fold.train + fold.extra), frozenset(fold.validation), frozenset(fold.test)
    findings = []
    for check, verb, keys in (
        ("coverage", "trained on and tested", trained & tested),
        ("inner-validation", "validated on and trained on", validated & trained),
        ("inner-validation", "validated on and tested", validated & tested),
    ):
        if keys:
            message = f"fold {fold.name}: {_named(keys)} {'is' if len(keys) == 1 else 'are'} both {verb}"
            findings.append(Finding(check=check, fold=fold.name, message=message, clips=_names(keys)))
    seen = set()
    for check, groups in ties.items():
        for label, members in groups.items():
            here = {"training": members & trained, "inner validation": members & validated, "test": members & tested}
            for left, right in (("training", "test"), ("inner validation", "training"), ("inner validation", "test")):
                a, b = here[left], here[right]
                if not a or not b or a == b or (subject_dependent and (left, right) == ("training", "test")):
                    continue
                if (check, left, right, a, b) in seen:
                    continue
                seen.add((check, left, right, a, b))
                message = (
                    f"fold {fold.name}: {_TIES[check]} {label} is in {left} ({_named(a)}) and in {right} ({_named(b)})"
                )
                name = "inner-validation" if left == "inner validation" else check
                findings.append(Finding(check=name, fold=fold.name, message=message, clips=_names(a | b)))
    return findings


def _coverage(split: Split, pool: Sequence[ClipKey], known: Mapping[ClipKey, Clip]) -> list[Finding]:
    """Clips tested never or twice, and clips of the split that nobody described."""
    tested = Counter(key for fold in split.folds for key in fold.test)
    named = {key for fold in split.folds for key in fold.train + fold.test + fold.validation + fold.extra}
    due = set(pool) - set(split.excluded)
    if split.protocol == "holdout":  # its training clips are never tested
        due &= set(tested) | (due - named)
    findings = []
    for keys, what in (
        (named - set(known), "named by the split but not among the clips given"),
        ({key for key in due if not tested[key]}, "never tested"),
        ({key for key, count in tested.items() if count > 1}, "tested more than once"),
    ):
        if keys:
            message = f"{len(keys)} clips {what}: {_named(keys)}"
            findings.append(Finding(check="coverage", fold="", message=message, clips=_names(keys)))
    return findings


def _recordings(known: Mapping[ClipKey, Clip]) -> _Groups:
    """Clips of one recording, and clips read from one file or folder, across data sets."""
    by_name = _grouped((f"{clip.dataset}/{clip.recording}", key) for key, clip in known.items())
    by_path = _grouped((f"at {clip.path.rstrip('/')}", key) for key, clip in known.items())
    return {**by_path, **by_name}


def _overlapping(recordings: _Groups, known: Mapping[ClipKey, Clip]) -> _Groups:
    """Pairs of clips of one recording whose intervals onset..offset have a frame in common."""
    pairs = {}
    for label, members in recordings.items():
        ordered = sorted(members, key=lambda key: (known[key].onset, key))
        for number, first in enumerate(ordered):
            for second in ordered[number + 1 :]:
                a, b = known[first], known[second]
                if b.onset > a.offset:
                    break
                span = f"frames {b.onset} to {min(a.offset, b.offset)}"
                pairs[f"{label} ({span}, {_named((first, second))})"] = frozenset((first, second))
    return pairs


def _same_content(content_hashes: Mapping[ClipKey, str | Iterable[str]], known: Mapping[ClipKey, Clip]) -> _Groups:
    missing = set(known) - set(content_hashes)
    if missing:
        raise InputError(
            f"{len(missing)} clips have no content hash: {_named(missing)}",
            where="content_hashes",
            cure="prepare them again",
        )
    pairs = []
    for key in known:
        hashes = content_hashes[key]
        pairs += [(value, key) for value in ([hashes] if isinstance(hashes, str) else hashes)]
    return _grouped(pairs)


def _measure(split: Split, ties: Mapping[str, _Groups]) -> dict[str, int]:
    """Test clips with a training clip of the same subject, and of the same recording."""
    counts = {"test_clips": sum(len(fold.test) for fold in split.folds)}
    for check, name in (("subjects", "subject"), ("recordings", "recording")):
        counts[name] = 0
        for fold in split.folds:
            trained, tested = frozenset(fold.train + fold.extra), frozenset(fold.test)
            touched = [members & tested for members in ties[check].values() if members & trained]
            counts[name] += len(frozenset().union(*touched))
    return counts


def _grouped(pairs: Iterable[tuple[str, ClipKey]]) -> _Groups:
    """Clips by what they share; groups of one clip tie nothing and are left out."""
    groups = defaultdict(set)
    for label, key in pairs:
        groups[label].add(key)
    return {label: frozenset(keys) for label, keys in sorted(groups.items()) if len(keys) > 1}


def _names(keys: Iterable[ClipKey]) -> tuple[str, ...]:
    return tuple("/".join(key) for key in sorted(keys))


def _named(keys: Iterable[ClipKey]) -> str:
    names = _names(keys)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
