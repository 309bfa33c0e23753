"""The readers by name, and the one call that reaches them."""

from __future__ import annotations

import importlib
import inspect
import os
from typing import TYPE_CHECKING

from hsta.errors import InputError

if TYPE_CHECKING:
    from hsta.datasets.reading import Reading

# name: module, function, arguments that the name stands for
_READERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "casme2": ("casme2", "read_casme2", {}),
    "samm": ("samm", "read_samm", {}),
    **{f"smic-{camera}": ("smic", "read_smic", {"camera": camera}) for camera in ("hs", "vis", "nir")},
    **{f"smic-e-{camera}": ("smic", "read_smic_e", {"camera": camera}) for camera in ("hs", "vis", "nir")},
    "casme3-a": ("casme3", "read_casme3_a", {}),
    "casme3-a-macro": ("casme3", "read_casme3_a_macro", {}),
    "casme3-c": ("casme3", "read_casme3_c", {}),
    "megc2019": ("megc2019", "read_megc2019", {}),
    "manifest": ("manifest", "read_any_manifest", {}),
    "casme": ("casme", "read_casme", {}),
    "casme-squared": ("casme_squared", "read_casme_squared", {}),
    "samm-long": ("samm_long", "read_samm_long", {}),
    "mmew": ("mmew", "read_mmew", {}),
    "dfme": ("dfme", "read_dfme", {}),
    "4dme": ("four_dme", "read_4dme", {}),
}
NAMES = tuple(_READERS)
_ALIASES = {"casme3": "casme3-a"}


def read(
    name: str, annotations: str | os.PathLike | None = None, root: str | os.PathLike | None = None, **options: object
) -> Reading:
    """Read a data set as its owner distributes it. No pixel is read.

    Args:
        name: one of `NAMES`; casme3 stands for casme3-a.
        annotations: the annotation file, path or fsspec URL; None where the data set has none.
        root: folder of the frames, path or fsspec URL, listed in one pass; None reads the annotations alone, and clips
            get the paths they should have below a root.
        options: of that reader; see `options_of`.

    Returns:
        ``clips`` and ``exclusions``, with remarks, corrections and facts.

    Raises:
        InputError: unknown name or option, unreadable file, missing column, unknown label, unsafe name, unusable root.
    """
    module, function, fixed = _entry(name)
    known = options_of(name)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InputError(
            f"{name} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}",
            where="options",
            cure="leave it out",
        )
    reader = getattr(importlib.import_module(f"hsta.datasets.{module}"), function)
    return reader(_path(annotations, "annotations"), _path(root, "root"), **fixed, **options)


def options_of(name: str) -> dict[str, object]:
    """The options of a reader and their defaults."""
    module, function, fixed = _entry(name)
    reader = getattr(importlib.import_module(f"hsta.datasets.{module}"), function)
    parameters = inspect.signature(reader).parameters.values()
    return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in fixed}


def _entry(name: str) -> tuple[str, str, dict[str, str]]:
    name = _ALIASES.get(name, name)
    if name not in _READERS:
        raise InputError(f"unknown data set '{name}'", where="name", cure=f"known are {', '.join(NAMES)}")
    return _READERS[name]


def _path(value: str | os.PathLike | None, what: str) -> str | None:
    path = None if value is None else os.fspath(value)
    if path is not None and (not isinstance(path, str) or "\0" in path or not path):
        raise InputError(f"{value!r} is no path", where=what, cure="give a path or URL as text")
    return path
