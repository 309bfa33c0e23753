"""The paper's ablations, each a named change of a configuration. No torch.

    ablate("usta_only", config)

Padding of short clips by repetition or zeros is no property of the model; the training recipe has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace

from hsta.errors import InputError
from hsta.model.config import HSTAConfig
from hsta.model.special import SPECIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """A named change.

    Attributes:
        asks: the question it answers, for a report.
        change: from the configuration under study to the ablated one.
    """

    asks: str
    change: Callable[[HSTAConfig], HSTAConfig]


def _with(**settings: object) -> Callable[[HSTAConfig], HSTAConfig]:
    return lambda config: replace(config, **settings)


def swapped(config: HSTAConfig) -> HSTAConfig:
    """The special data through the video branch's patches, width, heads and layers, and the other way round."""
    return replace(
        config,
        patch_sizes=config.patch_sizes[::-1],
        widths=config.widths[::-1],
        heads=config.heads[::-1],
        special_layers=config.video_layers,
        video_layers=config.special_layers,
    )


ABLATIONS: dict[str, Ablation] = {
    "usta_only": Ablation(asks="Does CSTA help?", change=_with(fusion="none")),
    "csta_only": Ablation(asks="Does USTA help?", change=_with(special_layers=0, video_layers=0, drop_path=0.0)),
    "video_only": Ablation(asks="Is the video enough?", change=_with(branches="video", fusion="none")),
    "special_only": Ablation(asks="Is the special data enough?", change=_with(branches="special", fusion="none")),
    "swapped": Ablation(asks="Which data needs the larger branch?", change=swapped),
    **{
        f"head_{head}": Ablation(asks=f"What should the classifier read: {what}?", change=_with(head=head))
        for head, what in {
            "cls": "class tokens",
            "cls_last": "class and last patch tokens",
            "mean": "the mean of all tokens",
        }.items()
    },
    **{
        f"special_{name}": Ablation(asks=f"As special data: {special.holds}?", change=_with(special=name))
        for name, special in SPECIAL.items()
    },
    **{f"k{k}": Ablation(asks=f"K = {k} blocks?", change=_with(blocks=k)) for k in (1, 2, 3, 4, 5)},
    **{
        f"n{n}_m{m}": Ablation(asks=f"[N, M] = [{n}, {m}] USTA layers?", change=_with(special_layers=n, video_layers=m))
        for n, m in ((1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3))
    },
    **{f"t{t}": Ablation(asks=f"T = {t} frames?", change=_with(frames=t)) for t in (2, 4, 6, 8, 16)},
}


def ablate(name: str, config: HSTAConfig) -> HSTAConfig:
    """The named ablation of a configuration.

    Raises:
        InputError: no such ablation, or one that does not fit the configuration.
    """
    if name not in ABLATIONS:
        near = difflib.get_close_matches(name, ABLATIONS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(ABLATIONS)}"
        raise InputError(f"unknown ablation '{name}'", where="model.ablation", cure=hint)
    return ABLATIONS[name].change(config)
