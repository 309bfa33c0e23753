"""What an HSTA model is made of: the configuration, its geometry and the named presets. Nothing here imports torch.

The model has two branches. Pairs are always (special, video).
"""

from __future__ import annotations

from dataclasses import dataclass

from hsta.errors import InputError
from hsta.model.special import SPECIAL

BRANCHES = ("special", "video")
HEADS = ("cls", "cls_last", "mean")
FUSIONS = ("csta", "none")
TUBELET = 2  # frames in a video tubelet


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchGeometry:
    """One branch in numbers.

    Attributes:
        name: "special" or "video".
        items: frames (video) or pictures (special) taken in.
        channels: channels of each.
        depth: items in a tubelet; a patch token is a tubelet of depth x patch x patch pixels.
        patch: side of a tubelet, pixels.
        grid: patch tokens along time, height and width; tokens are numbered in that order, width fastest.
        width: numbers in a token.
        heads: attention heads.
        layers: USTA layers in a block.
        lost: rows at the bottom, and columns at the right, that no tubelet covers.
    """

    name: str
    items: int
    channels: int
    depth: int
    patch: int
    grid: tuple[int, int, int]
    width: int
    heads: int
    layers: int
    lost: int

    @property
    def patches(self) -> int:
        """Patch tokens."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        """Class token and patch tokens."""
        return self.patches + 1

    @property
    def patch_inputs(self) -> int:
        """Numbers in a tubelet."""
        return self.channels * self.depth * self.patch**2


@dataclass(frozen=True, slots=True, kw_only=True)
class HSTAConfig:
    """An HSTA model (arXiv 2405.03202); by default the published base: 224 px, K = 4, [N, M] = [1, 2], T = 6.

    The published geometry does not see the whole picture: 224 is no multiple of the special branch's 12 px patches, so
    its last 8 rows and columns fall away. ``PRESETS["base_lossless"]`` (patches of 14 and 16) and
    ``PRESETS["base_lossless_240"]`` (240 px) lose nothing; ``geometry(branch).lost`` and ``describe`` say what a
    configuration loses. Tubelets take two frames each, so an odd T is refused instead of dropping its last frame.

    Attributes:
        image_size: height and width of every frame, pixels.
        patch_sizes: sides of the square patches, pixels.
        widths: token widths.
        heads: attention heads of USTA; CSTA over a branch's patches uses that branch's.
        special_layers: N, USTA layers of the special branch in a block. N = M = 0 leaves CSTA alone.
        video_layers: M, USTA layers of the video branch in a block.
        blocks: K.
        frames: T, frames of the video branch, even.
        classes: classes to tell apart.
        head: what the classifier sees of each branch: "cls" its class token, "cls_last" also its last patch token,
            "mean" the mean of all its tokens.
        dropout: after adding positions, on the projections of USTA and CSTA, and twice in the MLP.
        drop_path: chance of skipping a residual of USTA for a clip in training, rising linearly from 0 at the first
            layer to this at the last; see `drop_path_rate`.
        special: the special branch's data, a name of ``hsta.model.special.SPECIAL``.
        fusion: "csta", or "none" for USTA only.
        branches: "both", or the one branch there is; the settings of the other are then unused. A single branch has
            nothing to attend over, so it takes fusion "none".

    Raises:
        InputError: a value out of range, or settings that do not fit together.
    """

    image_size: int = 224
    patch_sizes: tuple[int, int] = (12, 16)
    widths: tuple[int, int] = (384, 768)
    heads: tuple[int, int] = (12, 12)
    special_layers: int = 1
    video_layers: int = 2
    blocks: int = 4
    frames: int = 6
    classes: int = 7
    head: str = "cls"
    dropout: float = 0.0
    drop_path: float = 0.0
    special: str = "onset_apex"
    fusion: str = "csta"
    branches: str = "both"

    def __post_init__(self) -> None:
        for name in ("patch_sizes", "widths", "heads"):
            pair = getattr(self, name)
            _require(
                isinstance(pair, (tuple, list)) and len(pair) == 2,
                name,
                f"{pair!r} is not a pair",
                "give (special branch, video branch)",
            )
            object.__setattr__(self, name, tuple(pair))
            for number in pair:
                _require_count(name, number, 1)
        for name, least in (("image_size", 1), ("frames", 1), ("classes", 2), ("blocks", 1)):
            _require_count(name, getattr(self, name), least)
        for name in ("special_layers", "video_layers"):
            _require_count(name, getattr(self, name), 0)
        for name, known in (
            ("head", HEADS),
            ("special", tuple(SPECIAL)),
            ("fusion", FUSIONS),
            ("branches", ("both", *BRANCHES)),
        ):
            value = getattr(self, name)
            _require(value in known, name, f"'{value}' is not known", f"use one of {', '.join(known)}")
        for name in ("dropout", "drop_path"):
            value = getattr(self, name)
            fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1
            _require(fits, name, f"{value!r} is not a probability below 1", "give a number from 0 to below 1")
        self._require_geometry()
        self._require_layers()

    def _require_geometry(self) -> None:
        _require(
            self.frames % TUBELET == 0,
            "frames",
            f"T = {self.frames} is odd, but tubelets take two frames each, so the last one would be dropped",
            f"use T = {self.frames - 1 or 2} or T = {self.frames + 1}",
        )
        for name, patch, width, heads in zip(BRANCHES, self.patch_sizes, self.widths, self.heads):
            _require(
                patch <= self.image_size,
                "patch_sizes",
                f"the {name} branch's patches of {patch} px do not fit into a picture of {self.image_size} px",
                "use smaller patches or a larger image_size",
            )
            _require(
                width % heads == 0,
                "heads",
                f"the {name} branch's width {width} cannot be divided among {heads} heads",
                "choose heads that divide the width",
            )

    def _require_layers(self) -> None:
        deepest = max(self.geometry(name).layers for name in self.branch_names)
        _require(
            self.drop_path == 0 or self.blocks * deepest > 1,
            "drop_path",
            f"{self.drop_path} has no effect: it rises from 0 over the USTA layers, and there are fewer than two",
            "set drop_path: 0",
        )
        if self.branches == "both":
            _require(
                self.fusion == "csta" or min(self.special_layers, self.video_layers) > 0,
                "fusion",
                "without CSTA, a branch without USTA layers has no attention at all: its class token knows no clip",
                "give both branches USTA layers, or use fusion: csta",
            )
            return
        _require(
            self.fusion == "none",
            "fusion",
            f"with the {self.branches} branch alone there are no patches for CSTA to attend over",
            "set fusion: none",
        )
        layers = self.special_layers if self.branches == "special" else self.video_layers
        _require(
            layers > 0,
            f"{self.branches}_layers",
            "a single branch without USTA layers has nothing to learn from",
            "use 1 or more",
        )

    @property
    def branch_names(self) -> tuple[str, ...]:
        """The branches there are, special first."""
        return BRANCHES if self.branches == "both" else (self.branches,)

    @property
    def head_inputs(self) -> int:
        """Numbers that the classifier sees."""
        width = sum(self.geometry(name).width for name in self.branch_names)
        return 2 * width if self.head == "cls_last" else width

    def geometry(self, branch: str) -> BranchGeometry:
        """The numbers of the "special" or the "video" branch."""
        index = BRANCHES.index(branch)
        special = SPECIAL[self.special]
        items, channels, depth = (
            (special.items, special.channels, special.items) if branch == "special" else (self.frames, 3, TUBELET)
        )
        side, lost = divmod(self.image_size, self.patch_sizes[index])
        return BranchGeometry(
            name=branch,
            items=items,
            channels=channels,
            depth=depth,
            patch=self.patch_sizes[index],
            grid=(items // depth, side, side),
            width=self.widths[index],
            heads=self.heads[index],
            layers=(self.special_layers, self.video_layers)[index],
            lost=lost,
        )

    def drop_path_rate(self, block: int, layer: int) -> float:
        """Chance of skipping a residual in USTA layer ``layer`` of block ``block`` (both from 0), the same for both
        branches.

        The rate rises linearly over the deeper branch: of the K x max(N, M) places, layer l of block k takes place
        k x max(N, M) + l. With N <= M this is the published schedule, over the video branch's depth. With N > M it runs
        over the special branch's instead (the authors' code then silently switches drop path off).
        """
        deepest = max(self.geometry(name).layers for name in self.branch_names)
        places = self.blocks * deepest
        return self.drop_path * (block * deepest + layer) / (places - 1) if places > 1 else 0.0


def _require(fits: bool, name: str, problem: str, cure: str) -> None:
    if not fits:
        raise InputError(problem, where=f"model.{name}", cure=cure)


def _require_count(name: str, value: object, least: int) -> None:
    fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
    _require(
        fits, name, f"{value!r} is not a whole number of at least {least}", f"give a whole number of at least {least}"
    )


PRESETS: dict[str, HSTAConfig] = {
    # As published: 224 px, patches 12/16, K = 4, [N, M] = [1, 2], T = 6.
    "tiny": HSTAConfig(widths=(96, 192), heads=(3, 3)),
    "small": HSTAConfig(widths=(192, 384), heads=(6, 6)),
    "base": HSTAConfig(),
    # The base model without lost pixels, at about the same cost and at 240 px.
    "base_lossless": HSTAConfig(patch_sizes=(14, 16)),
    "base_lossless_240": HSTAConfig(image_size=240),
    # For a laptop's CPU, lossless: all subjects' folds of the demo in minutes.
    "demo": HSTAConfig(
        image_size=112,
        patch_sizes=(14, 16),
        widths=(96, 96),
        heads=(3, 3),
        blocks=2,
        special_layers=1,
        video_layers=1,
        frames=4,
        classes=3,
        special="flow",
    ),
}
