"""Label sets by name. A label set fixes the classes, their number and their order; label sets are never mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from hsta.datasets.tables import Table, as_text
from hsta.errors import InputError

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")

LABEL_SETS: dict[str, tuple[str, ...]] = {
    # Planted movements of the demo clips: AU12; AU1+2; AU4+15.
    "demo3": ("smile", "brow-raise", "frown"),
    # Three classes of the MEGC2019 composite.
    "megc3": ("negative", "positive", "surprise"),
    "casme2-emotion5": ("happiness", "disgust", "repression", "surprise", "others"),
    "casme2-emotion7": ("others", "disgust", "happiness", "repression", "surprise", "sadness", "fear"),
    "samm-emotion5": ("anger", "happiness", "contempt", "surprise", "other"),
    "samm-emotion8": ("anger", "happiness", "other", "surprise", "contempt", "disgust", "fear", "sadness"),
    "casme3-emotion3": ("negative", "positive", "surprise"),
    "casme3-emotion4": ("negative", "positive", "surprise", "others"),
    "casme3-emotion7": ("disgust", "surprise", "others", "fear", "anger", "sad", "happy"),
    "casme3-objective7": ROMAN,
    "objective5": ROMAN[:5],
    "objective7": ROMAN,
    "mmew-emotion6": ("surprise", "disgust", "happiness", "fear", "sadness", "anger"),
    "mmew-emotion7": ("surprise", "disgust", "happiness", "fear", "sadness", "anger", "others"),
    "dfme-emotion7": ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
    # Whether a clip of a data set with both is a micro- or a macro-expression.
    "expression-type": ("micro", "macro"),
}

# Spellings of one emotion in the annotation files, lower case. Nothing else is folded.
_EMOTIONS: dict[str, tuple[str, ...]] = {
    "anger": ("anger", "angry"),
    "contempt": ("contempt",),
    "disgust": ("disgust",),
    "fear": ("fear",),
    "happiness": ("happiness", "happy"),
    "negative": ("negative",),
    "others": ("others", "other"),
    "positive": ("positive",),
    "repression": ("repression",),
    "sadness": ("sadness", "sad"),
    "surprise": ("surprise",),
}
_BY_SPELLING = {spelling: emotion for emotion, spellings in _EMOTIONS.items() for spelling in spellings}
# The organisers' mapping of MEGC2019, used for the classes negative and positive of other label sets.
_VALENCE = {
    **dict.fromkeys(("repression", "anger", "contempt", "disgust", "fear", "sadness", "negative"), "negative"),
    **dict.fromkeys(("happiness", "positive"), "positive"),
}
_BY_NUMERAL = {
    **{name: name for name in ROMAN},
    **{str(number): name for number, name in enumerate(ROMAN, start=1)},
    **{chr(0x2160 + place): name for place, name in enumerate(ROMAN)},  # one-character Roman numerals
}


def label_classes(name: str, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes of label set ``name``, in order.

    Args:
        name: a known label set, or a new name together with ``classes``.
        classes: the classes of a label set of the user's own.

    Raises:
        InputError: unknown name without classes, classes given for a known name, or fewer than two or repeated classes.
    """
    if name in LABEL_SETS:
        if classes and tuple(classes) != LABEL_SETS[name]:
            raise InputError(
                f"label set '{name}' has the classes {', '.join(LABEL_SETS[name])}; they cannot be redefined",
                where="data.classes",
                cure="give your own label set another name",
            )
        return LABEL_SETS[name]
    if not classes:
        raise InputError(
            f"unknown label set '{name}'; known are {', '.join(LABEL_SETS)}",
            where="data.label_set",
            cure="use a known name, or list the classes of your own in data.classes",
        )
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(
            "a label set needs two or more different classes", where="data.classes", cure="list each class once"
        )
    return tuple(classes)


def emotion(cell: object) -> str:
    """The emotion that a cell spells (`_EMOTIONS`); "" where it is empty or unknown."""
    return _BY_SPELLING.get(as_text(cell).casefold(), "")


def emotion_labels(cell: object, label_sets: Iterable[str]) -> dict[str, str]:
    """The class of an emotion in each of the label sets that has one for it, by its own name or by its valence."""
    name = emotion(cell)
    labels = {}
    for label_set in label_sets:
        classes = {_BY_SPELLING[one]: one for one in LABEL_SETS[label_set]}
        found = classes.get(name) or classes.get(_VALENCE.get(name, ""))
        if found:
            labels[label_set] = found
    return labels


def objective_labels(cell: object, label_sets: Iterable[str]) -> dict[str, str]:
    """The objective class, Roman or Arabic, in each of the label sets that has it."""
    name = _BY_NUMERAL.get(as_text(cell).upper(), "")
    return {label_set: name for label_set in label_sets if name in LABEL_SETS[label_set]}


def check_emotions(table: Table, field: str, label_set: str, also: Collection[str] = ()) -> None:
    """Raise InputError that lists every emotion of a column that neither ``label_set`` nor ``also`` has."""
    known = {_BY_SPELLING[name] for name in LABEL_SETS[label_set]} | set(also)
    unknown = Counter(row.text(field) for row in table.rows if row.text(field) and emotion(row[field]) not in known)
    _refuse_unknown(table, field, unknown, sorted(known))


def check_objective(table: Table, field: str) -> None:
    """Raise InputError that lists every cell of a column that is no objective class I to VII."""
    unknown = Counter(
        row.text(field) for row in table.rows if row.text(field) and row.text(field).upper() not in _BY_NUMERAL
    )
    _refuse_unknown(table, field, unknown, ROMAN)


def _refuse_unknown(table: Table, field: str, unknown: Counter, known: Sequence[str]) -> None:
    if unknown:
        found = ", ".join(f"'{name[:40]}' ({count} rows)" for name, count in unknown.most_common(20))
        first = next(row for row in table.rows if row.text(field) in unknown)
        raise InputError(
            f"unknown {field}: {found}; known are {', '.join(known)}",
            where=first.where,
            cure="check that this is the data set's own annotation file, and correct the spelling there",
        )
