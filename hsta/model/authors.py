"""The authors' checkpoints, in and out: their tensor names and shapes against this project's.

The public code of arXiv 2405.03202 numbers branches 0 (special) and 1 (video), stores the patch embedding as a Conv3d
and class tokens with two leading axes of 1. Positions are in neither state dict.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from hsta.errors import InputError
from hsta.model.config import BRANCHES
from hsta.model.hsta import HSTA

USTA_PARTS = {
    "norm1": "norm1",
    "qkv": "attn.qkv",
    "q_bias": "attn.q_bias",
    "v_bias": "attn.v_bias",
    "proj": "attn.proj",
    "norm2": "norm2",
    "fc1": "mlp.fc1",
    "fc2": "mlp.fc2",
}
CSTA_PARTS = {
    "enter_norm": "projs.{i}.0",
    "enter": "projs.{i}.2",
    "norm": "fusion.{i}.norm1",
    "query": "fusion.{i}.attn.wq",
    "key": "fusion.{i}.attn.wk",
    "value": "fusion.{i}.attn.wv",
    "proj": "fusion.{i}.attn.proj",
    "leave_norm": "revert_projs.{i}.0",
    "leave": "revert_projs.{i}.2",
}
CHECKPOINT_KEYS = ("model", "module")  # where their training script keeps the state dict in a file


def authors_name(name: str) -> str:
    """The authors' name of one of this project's tensors, such as ``blocks.0.usta.video.1.fc1.weight``."""
    group, *rest = name.split(".")
    if group == "head":
        return name
    if group in ("patch_embed", "class_token", "norm"):
        theirs = "cls_token" if group == "class_token" else group
        return ".".join([theirs, str(BRANCHES.index(rest[0])), *rest[1:]])
    block, kind, branch, *inner = rest
    index = BRANCHES.index(branch)
    if kind == "usta":
        layer, part, *leaf = inner
        return ".".join([f"blocks.{block}.blocks.{index}.{layer}", USTA_PARTS[part], *leaf])
    part, *leaf = inner
    return ".".join([f"blocks.{block}", CSTA_PARTS[part].format(i=index), *leaf])


def authors_shapes(model: HSTA) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the authors' model of the same configuration, in this model's order."""
    return {authors_name(name): _authors_shape(model, name, value) for name, value in model.state_dict().items()}


def authors_state_dict(model: HSTA) -> dict[str, Tensor]:
    """The model's tensors (shared, not copied) under the authors' names and in their shapes."""
    return {
        authors_name(name): value.reshape(_authors_shape(model, name, value))
        for name, value in model.state_dict().items()
    }


def load_authors_state_dict(model: HSTA, state_dict: Mapping[str, Tensor], *, where: str = "state dict") -> None:
    """Copy the authors' tensors into a model of the same configuration.

    Args:
        where: what to call the state dict in an error.

    Raises:
        InputError: lists every missing, unexpected and mis-shaped tensor; the model is then left as it was.
    """
    shapes = authors_shapes(model)
    wrong = [f"missing: {name} {shape}" for name, shape in shapes.items() if name not in state_dict]
    wrong += [f"unexpected: {name}" for name in state_dict if name not in shapes]
    for name, shape in shapes.items():
        value = state_dict.get(name)
        if value is not None and not isinstance(value, Tensor):
            wrong.append(f"not a tensor: {name} is a {type(value).__name__}")
        elif value is not None and tuple(value.shape) != shape:
            wrong.append(f"wrong shape: {name} is {tuple(value.shape)}, expected {shape}")
    if wrong:
        raise InputError(
            "\n  ".join([f"{len(wrong)} tensors do not fit the model:", *wrong]),
            where=where,
            cure="make the configuration match the checkpoint: depths, widths, patch sizes, special data, classes",
        )
    ours = model.state_dict()
    model.load_state_dict({name: state_dict[authors_name(name)].reshape(value.shape) for name, value in ours.items()})


def load_authors_checkpoint(model: HSTA, path: str | os.PathLike) -> None:
    """Load a checkpoint file in the authors' format: a state dict, or a mapping that holds one under "model" or
    "module".

    Only tensors and plain containers are read; a file that would have to be unpickled, and so could run code, is
    refused.

    Raises:
        InputError: no such file, not a checkpoint, a file that needs unpickling, or tensors that do not fit the model.
    """
    where = os.fspath(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on files it then refuses
            content = torch.load(where, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=where, cure="check the path") from None
    except pickle.UnpicklingError as error:
        raise InputError(
            f"holds more than tensors, and reading it could run code that came with it ({_first_line(error)})",
            where=where,
            cure="if you trust it, load it yourself and save only its state dict, torch.save(content['model'], path)",
        ) from None
    except (RuntimeError, EOFError, ValueError) as error:
        raise InputError(
            f"is not a PyTorch checkpoint ({_first_line(error)})", where=where, cure="check the file"
        ) from None
    for key in CHECKPOINT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise InputError(
            f"holds a {type(content).__name__}, not a state dict", where=where, cure="save model.state_dict()"
        )
    load_authors_state_dict(model, content, where=where)


def _authors_shape(model: HSTA, name: str, value: Tensor) -> tuple[int, ...]:
    if name.startswith("class_token."):
        return (1, 1, *value.shape)
    if name.startswith("patch_embed.") and value.ndim == 2:
        g = model.patch_embed[name.split(".")[1]].geometry
        return (g.width, g.channels, g.depth, g.patch, g.patch)
    return tuple(value.shape)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
