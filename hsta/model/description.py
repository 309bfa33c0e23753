"""A configuration in numbers: shapes, tokens, parameters and multiply-accumulates (MACs) of every stage. No torch.

MACs are those of one clip's forward pass: every matrix product, and nothing for norms, softmax and activations.

- USTA layer of L tokens of width D: 12 L D^2 for its matrices (query, key, value, projection, MLP of 4 D) and
  2 L^2 D for scores and weighted sum.
- CSTA from a branch of width D onto L tokens (class token included) of width E: 2 D E to enter and leave, 2 E^2 for
  query and output. The published computation forms keys and values, 2 L E^2, then 2 L E for scores and sum. This
  project's forms none: 2 E^2 to fold the key matrix into the query and apply the value matrix to the sum, 2 H L E for
  scores and sum of H heads.

The first way gives the published figures, and is listed as ``published_macs`` beside what this project computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from hsta.model.config import BRANCHES, BranchGeometry, HSTAConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One row of the table.

    Attributes:
        name: what it is; "x n" stages are the sum over n blocks.
        shape: what comes out of it for one clip.
        parameters: numbers in its tensors.
        macs: multiply-accumulates a clip, as this project computes it.
        published_macs: the same where keys and values of CSTA are formed.
    """

    name: str
    shape: str
    parameters: int
    macs: int
    published_macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What `describe` returns; ``print`` it for a table.

    Attributes:
        stages: in the order of computation.
        tokens: of each branch, class token included.
        notes: what the geometry loses, and parameters that do not learn.
    """

    stages: tuple[Stage, ...]
    tokens: dict[str, int]
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        return sum(stage.parameters for stage in self.stages)

    @property
    def macs(self) -> int:
        return sum(stage.macs for stage in self.stages)

    @property
    def published_macs(self) -> int:
        return sum(stage.published_macs for stage in self.stages)

    def __str__(self) -> str:
        rows = [("stage", "shape", "parameters", "MACs", "MACs as published")]
        rows += [(s.name, s.shape, f"{s.parameters:,}", _giga(s.macs), _giga(s.published_macs)) for s in self.stages]
        rows.append(("total", "", f"{self.parameters:,}", _giga(self.macs), _giga(self.published_macs)))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join([r[0].ljust(widths[0]), r[1].ljust(widths[1]), *map(str.rjust, r[2:], widths[2:])]) for r in rows
        ]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *self.notes])


def describe(config: HSTAConfig) -> Description:
    """Shapes, tokens, parameters and MACs of a configuration, stage by stage."""
    sides = {name: config.geometry(name) for name in config.branch_names}
    stages: list[Stage] = []
    for name, g in sides.items():
        macs = g.patches * g.patch_inputs * g.width
        grid = " x ".join(map(str, g.grid))
        stages.append(
            _stage(f"patches, {name}", f"{grid} = {g.patches} x {g.width}", (g.patch_inputs + 1) * g.width, macs)
        )
        stages.append(_stage(f"class token, {name}", f"{g.tokens} x {g.width}", g.width, 0))
    for name, g in sides.items():
        layers = config.blocks * g.layers
        parameters, macs = layers * usta_parameters(g), layers * usta_macs(g)
        stages.append(_stage(f"USTA, {name} x {config.blocks}", f"{g.tokens} x {g.width}", parameters, macs))
    if config.fusion == "csta":
        for name, partner in zip(BRANCHES, reversed(BRANCHES)):
            own, other = sides[name], sides[partner]
            stages.append(
                Stage(
                    name=f"CSTA, {name} over {partner} x {config.blocks}",
                    shape=f"1 x {own.width}",
                    parameters=config.blocks * csta_parameters(own, other),
                    macs=config.blocks * csta_macs(own, other),
                    published_macs=config.blocks * csta_published_macs(own, other),
                )
            )
    width = sum(g.width for g in sides.values())
    stages.append(_stage("norms", str(width), 2 * width, 0))
    inputs, classes = config.head_inputs, config.classes
    stages.append(_stage(f"head, {config.head}", str(classes), (inputs + 1) * classes, inputs * classes))
    return Description(
        stages=tuple(stages), tokens={name: g.tokens for name, g in sides.items()}, notes=tuple(_notes(config))
    )


def usta_parameters(g: BranchGeometry) -> int:
    """Two norms, query, key, value (no bias for keys), projection, MLP."""
    d = g.width
    return 4 * d + (3 * d * d + 2 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d)


def usta_macs(g: BranchGeometry) -> int:
    return 12 * g.tokens * g.width**2 + 2 * g.tokens**2 * g.width


def csta_parameters(own: BranchGeometry, other: BranchGeometry) -> int:
    """Norm and matrix in; norm, query, key, value, projection; norm and matrix out."""
    d, e = own.width, other.width
    return (2 * d + d * e + e) + (2 * e + 4 * (e * e + e)) + (2 * e + e * d + d)


def csta_macs(own: BranchGeometry, other: BranchGeometry) -> int:
    d, e = own.width, other.width
    return 2 * d * e + 4 * e * e + 2 * other.heads * other.tokens * e


def csta_published_macs(own: BranchGeometry, other: BranchGeometry) -> int:
    d, e = own.width, other.width
    return 2 * d * e + 2 * e * e + 2 * other.tokens * e * e + 2 * other.tokens * e


def _notes(config: HSTAConfig) -> list[str]:
    notes = []
    for name in config.branch_names:
        if lost := config.geometry(name).lost:
            notes.append(
                f"The {name} branch does not see the last {lost} rows and columns: {config.image_size} px is "
                f"no multiple of its {config.geometry(name).patch} px patches."
            )
    if config.fusion == "csta":
        frozen = config.blocks * sum(config.geometry(name).width for name in BRANCHES)
        notes.append(f"Of the parameters, {frozen:,} are CSTA key biases, which cancel in the softmax and never learn.")
    return notes


def _stage(name: str, shape: str, parameters: int, macs: int) -> Stage:
    return Stage(name=name, shape=shape, parameters=parameters, macs=macs, published_macs=macs)


def _giga(macs: int) -> str:
    return f"{macs / 1e9:.3f} G"
