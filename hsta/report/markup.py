"""HTML elements from functions. Text is always escaped; only what these functions made themselves is taken as
markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_VOID = {"img", "meta", "br"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children that are no `Markup` are escaped, iterables flattened, None left out.

    Attribute names: a trailing underscore is dropped, others become hyphens (``class_``, ``stroke_width``); None and
    False leave an attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children one after the other, escaped unless they are markup."""
    return Markup("".join(_written(child) for child in children))


def _written(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, Iterable) and not isinstance(child, str):
        return join(*child)
    return escape(str(child))


def table(
    caption: str,
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numeric: Sequence[int] = (),
    bars: Sequence[int] = (),
    optional: Sequence[int] = (),
    class_: str | None = None,
) -> Markup:
    """A table whose first column heads its rows.

    Args:
        numeric: columns set right-aligned, in figures of one width.
        bars: columns that hold bars and get room for them.
        optional: columns left out on narrow screens.
    """

    def cell(name: str, column: int, content: object, **attributes: object) -> Markup:
        kinds = [
            kind for kind, columns in (("num", numeric), ("bars", bars), ("optional", optional)) if column in columns
        ]
        return tag(name, content, class_=" ".join(kinds) or None, **attributes)

    body = (
        tag("tr", (cell("td" if k else "th", k, value, scope=None if k else "row") for k, value in enumerate(row)))
        for row in rows
    )
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", (cell("th", k, title, scope="col") for k, title in enumerate(head)))),
            tag("tbody", body),
            class_=class_,
        ),
        class_="scroll",
    )


def figure(title: str, *content: object, note: object = None, class_: str | None = None) -> Markup:
    """A figure with its title above and a note below."""
    return tag(
        "figure",
        tag("figcaption", tag("strong", title), tag("span", note) if note else None),
        *content,
        class_=class_,
    )


def svg(title: str, *content: object, **attributes: object) -> Markup:
    """A picture that screen readers announce by its title."""
    return tag("svg", tag("title", title), *content, role="img", aria_label=title, **attributes)
