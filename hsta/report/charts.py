"""Charts as inline SVG, coloured by the page's CSS so that they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from hsta.report.markup import Markup, join, svg, tag


def score_strip(name: str, score: float | None, interval: Sequence[float] | None, marks: Mapping[str, float]) -> Markup:
    """One score on a scale from 0 to 1 with its interval, and small marks for what it has to beat.

    Widths are percentages: the strip fills its place at any width. ``marks`` are two: the first below the line, the
    second above.
    """
    said = f"{name} {score:.3f}" if score is not None else name
    if interval:
        said += f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
    said += "".join(f", {mark} {value:.3f}" for mark, value in marks.items())
    parts = [tag("line", x1="0%", x2="100%", y1=16, y2=16, class_="track")]
    parts += [tag("line", x1=_percent(k / 10), x2=_percent(k / 10), y1=13, y2=19, class_="track") for k in range(11)]
    for (mark, value), (y1, y2) in zip(
        marks.items(), ((16, 28), (4, 16)), strict=True
    ):  # one below the line, one above
        shown = tag("title", f"{mark}: {value:.3f}")
        parts.append(tag("line", shown, x1=_percent(value), x2=_percent(value), y1=y1, y2=y2, class_=f"mark {mark}"))
    if interval:
        parts.append(tag("line", x1=_percent(interval[0]), x2=_percent(interval[1]), y1=16, y2=16, class_="interval"))
    if score is not None:
        parts.append(tag("circle", cx=_percent(score), cy=16, r=6, class_="dot"))
    return svg(said, *parts, width="100%", height=32, class_="strip")


def bar(value: float, *, of: str) -> Markup:
    """A bar of 0 to 1 for a table cell."""
    return svg(
        f"{of}: {value:.0%}",
        tag("rect", x=0, y=0, width="100%", height=8, rx=4, class_="track-fill"),
        tag("rect", x=0, y=0, width=_percent(value), height=8, rx=4, class_="bar"),
        width="100%",
        height=8,
        class_="bar-cell",
    )


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """Counts and shares of each row as a heat map; rows are the truth, right answers and errors have a hue each."""
    cell = 84 if len(classes) <= 4 else 62
    left = 34 + 7.2 * min(18, max(len(name) for name in classes))
    slanted = any(7 * len(name) > cell - 6 for name in classes)
    top = 34 + (5.4 * min(18, max(len(name) for name in classes)) if slanted else 16)
    size = cell * len(classes)
    width, height = left + size + (46 if slanted else 8), top + size + 8
    parts = [
        tag("text", "predicted", x=left + size / 2, y=14, class_="axis-title", text_anchor="middle"),
        tag(
            "text",
            "true",
            x=14,
            y=top + size / 2,
            class_="axis-title",
            text_anchor="middle",
            transform=f"rotate(-90 14 {top + size / 2:.1f})",
        ),
    ]
    for k, name in enumerate(classes):
        middle = k * cell + cell / 2
        x, y = left + middle, top - 8
        turn = (
            {"transform": f"rotate(-36 {x:.1f} {y:.1f})", "text_anchor": "start"}
            if slanted
            else {"text_anchor": "middle"}
        )
        parts.append(tag("text", _short(name), tag("title", name), x=x, y=y, class_="tick", **turn))
        parts.append(
            tag(
                "text",
                _short(name),
                tag("title", name),
                x=left - 10,
                y=top + middle + 4,
                class_="tick",
                text_anchor="end",
            )
        )
    for row, values in enumerate(counts):
        total = sum(values)
        for column, value in enumerate(values):
            share = value / total if total else 0.0
            x, y = left + column * cell, top + row * cell
            said = f"{classes[row]} taken for {classes[column]}: {value} of {total}"
            parts.append(
                tag(
                    "g",
                    tag("title", said),
                    tag("rect", x=x, y=y, width=cell, height=cell, class_="cell"),
                    tag(
                        "rect",
                        x=x + 1.5,
                        y=y + 1.5,
                        width=cell - 3,
                        height=cell - 3,
                        rx=4,
                        fill_opacity=f"{share:.3f}",
                        class_="right" if row == column else "wrong",
                    ),
                    tag("text", value, x=x + cell / 2, y=y + cell / 2 - 1, class_="count", text_anchor="middle"),
                    tag(
                        "text",
                        f"{share:.0%}" if total else "–",
                        x=x + cell / 2,
                        y=y + cell / 2 + 15,
                        class_="share",
                        text_anchor="middle",
                    ),
                )
            )
    return svg(
        "Confusion matrix, rows are the truth",
        *parts,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        class_="confusion",
    )


def columns(values: Sequence[tuple[str, float]], *, title: str, line: float | None) -> Markup:
    """Shares of 0 to 1 as columns, highest first, and one share, unless None, as a line across.

    Names stand below the columns as long as there is room for them; every column says its name and value when pointed
    at.
    """
    ordered = sorted(values, key=lambda pair: (-pair[1], pair[0]))
    named = len(ordered) <= 12 and all(len(name) <= 9 for name, _ in ordered)
    top, height = 8, 130
    total = top + height + (26 if named else 8)
    step = 100 / len(ordered)
    parts, scale = [], []
    for share in (0, 0.5, 1):
        y = top + height * (1 - share)
        parts.append(tag("line", x1="0%", x2="100%", y1=y, y2=y, class_="grid"))
        scale.append(tag("text", f"{share:.0%}", x=36, y=y + 4, class_="tick small", text_anchor="end"))
    for k, (name, value) in enumerate(ordered):
        tall = max(2, height * value)
        said = tag("title", f"{name}: {value:.1%}")
        x, width = f"{(k + 0.16) * step:.3f}%", f"{0.68 * step:.3f}%"
        parts.append(
            tag(
                "rect", said, x=x, width=width, y=f"{top + height - tall:.2f}", height=f"{tall:.2f}", rx=2, class_="bar"
            )
        )
        if named:
            middle = f"{(k + 0.5) * step:.3f}%"
            parts.append(tag("text", name, x=middle, y=top + height + 18, class_="tick small", text_anchor="middle"))
    if line is not None:
        y = f"{top + height * (1 - line):.2f}"
        parts.append(tag("line", tag("title", f"{line:.1%}"), x1="0%", x2="100%", y1=y, y2=y, class_="mark-line"))
    return tag(
        "div",
        tag("svg", scale, width=44, height=total, aria_hidden="true"),
        svg(
            title,
            *parts,
            width="100%",
            height=total,
            class_="columns",
            style=f"max-width: {max(300, 76 * len(ordered))}px",
        ),
        class_="plot",
    )


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, title: str, unit_interval: bool) -> Markup:
    """One quantity over epochs: a thin line a fold, a thick one for the median over folds.

    Args:
        series: by fold: epochs and values of one length; values that are None are left out.
        unit_interval: the axis runs from 0 to 1; else from the smallest value (or 0) to the largest.
    """
    points = {name: [(x, y) for x, y in zip(*pair, strict=True) if y is not None] for name, pair in series.items()}
    points = {name: pairs for name, pairs in points.items() if pairs}
    every = [point for pairs in points.values() for point in pairs]
    if not every:
        return svg(
            f"{title}: no value", tag("text", "no value", x=20, y=40, class_="tick"), viewBox="0 0 340 60", width="100%"
        )
    left, right, top, bottom = 46, 332, 12, 180
    first, last = min(x for x, _ in every), max(x for x, _ in every)
    low, high = (0.0, 1.0) if unit_interval else (min(0.0, *(y for _, y in every)), max(y for _, y in every))
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(x: float, y: float) -> str:
        across = (x - first) / (last - first) if last > first else 0.5
        up = (y - low) / (high - low) if high > low else 0.5
        return f"{left + across * (right - left):.1f},{bottom - up * (bottom - top):.1f}"

    parts = []
    for value in ticks:
        y = place(first, value).split(",")[1]
        parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{value:g}", x=left - 8, y=float(y) + 4, class_="tick small", text_anchor="end"))
    for value in sorted({first, last}):
        x = place(value, low).split(",")[0]
        parts.append(tag("text", f"{value:g}", x=x, y=bottom + 17, class_="tick small", text_anchor="middle"))
    parts.append(tag("text", "epoch", x=(left + right) / 2, y=bottom + 17, class_="tick small", text_anchor="middle"))
    opacity = f"{min(0.5, max(0.06, 4 / len(points))):.2f}"  # many folds must not hide their own spread
    for name, pairs in points.items():
        drawn = " ".join(place(x, y) for x, y in (pairs if len(pairs) > 1 else pairs * 2))
        parts.append(tag("polyline", tag("title", name), points=drawn, class_="fold-line", stroke_opacity=opacity))
    if len(points) > 1:
        parts.append(
            tag("polyline", points=" ".join(place(x, y) for x, y in _median_line(points)), class_="median-line")
        )
    return svg(title, *parts, viewBox="0 0 340 204", width="100%", class_="curves")


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that cover low..high, about ``count`` steps apart by 1, 2 or 5 times a power of ten."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    numbers = range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
    return [float(f"{number * step:.12g}") for number in numbers]


def legend(*entries: tuple[str, str]) -> Markup:
    """A key: CSS class of the sample stroke, and what it means."""
    items = (
        tag(
            "span",
            tag("svg", tag("line", x1=3, x2=21, y1=6, y2=6, class_=kind), width=24, height=12, aria_hidden="true"),
            text,
        )
        for kind, text in entries
    )
    return tag("p", join(items), class_="legend")


def _median_line(points: Mapping[str, Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    by_epoch: dict[float, list[float]] = {}
    for pairs in points.values():
        for x, y in pairs:
            by_epoch.setdefault(x, []).append(y)
    return [(x, median(by_epoch[x])) for x in sorted(by_epoch)]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}%"


def _short(name: str, limit: int = 18) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
