"""Label sets by name. A label set fixes the classes, their number and their order; label sets are never mixed."""

from __future__ import annotations

from collections.abc import Sequence

from hsta.errors import InputError

LABEL_SETS: dict[str, tuple[str, ...]] = {
    # Planted movements of the demo clips: AU12; AU1+2; AU4+15.
    "demo3": ("smile", "brow-raise", "frown"),
    # Three classes of the MEGC2019 composite.
    "megc3": ("negative", "positive", "surprise"),
    "casme2-emotion5": ("happiness", "disgust", "repression", "surprise", "others"),
    "samm-emotion5": ("anger", "happiness", "contempt", "surprise", "other"),
    "casme3-emotion3": ("negative", "positive", "surprise"),
    "casme3-emotion4": ("negative", "positive", "surprise", "others"),
    "casme3-emotion7": ("disgust", "surprise", "others", "fear", "anger", "sad", "happy"),
    "casme3-objective7": ("I", "II", "III", "IV", "V", "VI", "VII"),
    "objective5": ("I", "II", "III", "IV", "V"),
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
        raise InputError("a label set needs two or more different classes", where="data.classes", cure="list each class once")
    return tuple(classes)
