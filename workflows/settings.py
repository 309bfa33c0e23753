"""Strict settings: YAML and ``--set a.b=c`` onto frozen dataclasses. Whatever is not understood is an error, with its cure."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import yaml

from hsta import storage
from hsta.errors import InputError

T = TypeVar("T")


def read_yaml(url: str) -> dict:
    """A YAML mapping. Raises InputError for a missing file, broken YAML, a repeated key, or another kind of document."""
    try:
        value = yaml.load(storage.read_bytes(url), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise InputError("the configuration file is not there", where=url, cure="check --config") from None
    except yaml.YAMLError as error:
        raise InputError(
            f"is not valid YAML: {error}", where=url, cure="check the indentation and the quotes"
        ) from None
    if not isinstance(value, dict):
        raise InputError("is not a mapping of settings", where=url, cure="see configs/ for examples")
    return value


def override(settings: dict, assignments: Sequence[str]) -> dict:
    """``settings`` with ``a.b=c`` applied; c is read as YAML (``--set train.betas=[0.9,0.95]``)."""
    result = _copy(settings)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not all(name.split(".")):
            raise InputError(
                f"'{assignment}' is not an assignment", where="--set", cure="write --set section.key=value"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(
                f"the value of '{assignment}' is not YAML: {error}", where="--set", cure="quote it"
            ) from None
        *sections, key = name.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise InputError(f"'{section}' in '{name}' is not a section", where="--set", cure="check the name")
        place[key] = value
    return result


def build(kind: type[T], values: Any, *, where: str, path: str = "") -> T:
    """Make a dataclass from a mapping, nested ones included.

    Raises:
        InputError: unknown key (the nearest valid one is named), missing key, or a value of the wrong type.
    """
    place = f"{where}, {path}" if path else where
    if not isinstance(values, Mapping):
        raise InputError(
            f"expected a section with keys, found {values!r}", where=place, cure="indent its keys under it"
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.4)
            hint = f"did you mean '{near[0]}'?" if near else f"valid keys are {', '.join(fields)}"
            raise InputError(f"unknown key '{_join(path, str(key))}'", where=where, cure=hint)
    given = {key: _convert(hints[key], value, where, _join(path, key)) for key, value in values.items()}
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in given and not optional:
            raise InputError(
                f"missing key '{_join(path, name)}'", where=where, cure=f"add it, or --set {_join(path, name)}=..."
            )
    return kind(**given)


def to_yaml(settings: Any) -> str:
    """Resolved settings as YAML that `build` reads back to the same."""
    return yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True, width=120)


def plain(value: Any) -> Any:
    """Dataclasses and tuples as dicts and lists."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _convert(hint: Any, value: Any, where: str, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where=where, path=path)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        inner = [argument for argument in arguments if argument is not type(None)]
        return _convert(inner[0], value, where, path)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(value, "a list", where, path)
        if arguments[-1] is Ellipsis:
            return tuple(_convert(arguments[0], item, where, path) for item in value)
        if len(value) != len(arguments):
            raise _wrong(value, f"a list of {len(arguments)}", where, path)
        return tuple(_convert(kind, item, where, path) for kind, item in zip(arguments, value))
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        try:  # YAML 1.1 reads 5e-4 as text
            return float(value)
        except ValueError:
            raise _wrong(value, "a number", where, path) from None
    if hint is int and isinstance(value, bool) or not isinstance(value, hint):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise _wrong(value, names.get(hint, str(hint)), where, path)
    return value


def _wrong(value: Any, wanted: str, where: str, path: str) -> InputError:
    return InputError(f"'{path}' is {value!r}", where=where, cure=f"it must be {wanted}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, dict) else value


class _UniqueKeys(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
