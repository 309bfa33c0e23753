"""HSTA, the model: Hierarchical Space-Time Attention for micro-expression recognition (arXiv 2405.03202).

    config.py, special.py, ablations.py   what a model is made of; no torch
    hsta.py                               the model
    authors.py                            the authors' checkpoints, in and out
    description.py                        tokens, parameters and MACs of a configuration
    attention_maps.py                     what a model looked at

Names are imported on first use, so that configurations can be checked without loading torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsta.model.ablations import ABLATIONS, Ablation, ablate
    from hsta.model.attention_maps import AttentionMaps, attention
    from hsta.model.authors import authors_state_dict, load_authors_checkpoint, load_authors_state_dict
    from hsta.model.config import PRESETS, BranchGeometry, HSTAConfig
    from hsta.model.description import Description, describe
    from hsta.model.hsta import HSTA
    from hsta.model.special import SPECIAL, SpecialData

_HOMES = {
    "ABLATIONS": "ablations",
    "Ablation": "ablations",
    "ablate": "ablations",
    "AttentionMaps": "attention_maps",
    "attention": "attention_maps",
    "authors_state_dict": "authors",
    "load_authors_checkpoint": "authors",
    "load_authors_state_dict": "authors",
    "PRESETS": "config",
    "BranchGeometry": "config",
    "HSTAConfig": "config",
    "Description": "description",
    "describe": "description",
    "HSTA": "hsta",
    "SPECIAL": "special",
    "SpecialData": "special",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
