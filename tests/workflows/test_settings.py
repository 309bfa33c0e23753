"""Strict settings. If these fail, a typing error trains the wrong model for a weekend without a word."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from hsta.errors import InputError
from workflows import config as configuration
from workflows import settings

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(ROOT.glob("configs/*.yaml"))


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    pair: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    maybe: int | None = None


def build(values):
    return settings.build(Outer, values, where="x.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_configuration_loads_and_survives_saving(path, tmp_path):
    loaded = configuration.load(str(path))
    configuration.save(loaded, str(tmp_path / "saved.yaml"))
    assert configuration.load(str(tmp_path / "saved.yaml")) == loaded


def test_there_are_shipped_configurations():
    assert "demo.yaml" in [path.name for path in SHIPPED]


def test_values_are_converted_to_what_the_field_says():
    value = build({"name": "a", "inner": {"rate": "1e-3", "pair": [3, 4], "names": ["x"]}, "maybe": 7})
    assert value == Outer(name="a", inner=Inner(rate=1e-3, pair=(3, 4), names=("x",)), maybe=7)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "a", "inner": {"rats": 1}}, "unknown key 'inner.rats'.*did you mean 'rate'"),
        ({"name": "a", "zzz": 1}, "unknown key 'zzz'.*valid keys are name, inner, maybe"),
        ({}, "missing key 'name'"),
        ({"name": 3}, "'name' is 3.*must be text"),
        ({"name": "a", "maybe": True}, "'maybe' is True.*whole number"),
        ({"name": "a", "inner": {"rate": "fast"}}, "'inner.rate' is 'fast'.*a number"),
        ({"name": "a", "inner": {"pair": [1, 2, 3]}}, "'inner.pair'.*a list of 2"),
        ({"name": "a", "inner": 5}, "expected a section"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(values, said):
    with pytest.raises(InputError, match="(?s)" + said):
        build(values)


def test_overrides_reach_nested_keys_and_read_yaml():
    values = settings.override({"a": {"b": 1}}, ["a.b=[2, 3]", "c.d=text", "e=null"])
    assert values == {"a": {"b": [2, 3]}, "c": {"d": "text"}, "e": None}


@pytest.mark.parametrize("text", ["a.b", "=3", "a..b=1", "a.b=[1"])
def test_an_override_that_cannot_be_read_is_refused(text):
    with pytest.raises(InputError, match="--set"):
        settings.override({}, [text])


def test_an_override_through_a_value_is_refused():
    with pytest.raises(InputError, match="not a section"):
        settings.override({"a": 1}, ["a.b=2"])


def test_a_key_given_twice_is_an_error(tmp_path):
    (tmp_path / "x.yaml").write_text("run:\n  name: a\n  name: b\n")
    with pytest.raises(InputError, match="'name' appears twice"):
        settings.read_yaml(str(tmp_path / "x.yaml"))


def test_a_missing_file_is_named():
    with pytest.raises(InputError, match="nowhere.yaml.*not there"):
        settings.read_yaml("nowhere.yaml")


def demo(*assignments):
    return configuration.load(str(ROOT / "configs/demo.yaml"), assignments)


def test_a_preset_gives_what_the_section_does_not():
    assert demo("model.preset=base", "model.blocks=3").model.widths == (384, 768)
    assert demo("model.preset=base", "model.blocks=3").model.blocks == 3


def test_classes_follow_from_the_label_set():
    custom = demo("data.label_set=mine", "data.classes=[a, b]")
    assert custom.model.classes == 2 and custom.classes == ("a", "b")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("train.epoch=3", "did you mean 'epochs'"),
        ("model.preset=huge", "known are"),
        ("model.classes=7", "leave model.classes out"),
        ("data.label_set=nonsense", "unknown label set"),
        ("folds.executor=magic", "auto or inline or trainer"),
        ("run.name=../etc", "letters, digits"),
        ("train.epochs=0", "1 or more"),
        ("protocol.seeds=[1, 1]", "different numbers"),
        ("prepare.max_rejected=3", "a share"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_an_error(assignment, said):
    with pytest.raises(InputError, match="(?s)" + said):
        demo(assignment)


def test_the_hash_follows_the_science_and_nothing_else():
    assert demo("folds.cpus=2", "run.name=other").science_hash() == demo().science_hash()
    assert demo("train.epochs=31").science_hash() != demo().science_hash()


def test_saved_settings_are_plain_yaml():
    assert yaml.safe_load(settings.to_yaml(Outer(name="é")))["name"] == "é"
