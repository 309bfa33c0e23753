"""The cluster's image and the shell scripts. If these fail, an image is not built, or its nodes are refused by Ray."""

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.workflows.conftest import ROOT

DOCKERFILE = (ROOT / "cluster/Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: the extra 'lint' has it")
    return found


def test_the_dockerfile_passes_the_linter(tmp_path):
    linter = tool("hadolint")
    done = subprocess.run([linter, ROOT / "cluster/Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace("USER 1000:1000", "USER root").replace("--no-install-recommends", ""))
    assert subprocess.run([linter, worse], capture_output=True).returncode != 0


@pytest.mark.parametrize("script", sorted((ROOT / "cluster").rglob("*.sh")), ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script):
    done = subprocess.run([tool("shellcheck"), "--severity=warning", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_python_is_one_that_the_project_supports():
    """To the patch, because Ray refuses nodes and drivers whose patch differs."""
    version = re.search(r"^ARG PYTHON_VERSION=(.*)$", DOCKERFILE, re.MULTILINE)[1]
    low, high = re.fullmatch(r">=(3\.\d+),<(3\.\d+)", PROJECT["requires-python"]).groups()
    assert re.fullmatch(r"3\.\d+\.\d+", version)
    number = tuple(int(part) for part in version.split(".")[:2])
    assert tuple(map(int, low.split("."))) <= number < tuple(map(int, high.split(".")))
    assert f"PYTHON ?= python{version.rpartition('.')[0]}" in (ROOT / "Makefile").read_text()
    assert DOCKERFILE.count("FROM python:${PYTHON_VERSION}-slim-") == DOCKERFILE.count("FROM ") == 2


def test_everything_is_pinned_and_what_is_installed_is_the_project():
    assert "--constraint constraints.txt" in DOCKERFILE
    extras = re.search(r'"\.\[([a-z,]+)\]"', DOCKERFILE)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = PROJECT["dependencies"] + [r for name in extras for r in PROJECT["optional-dependencies"][name]]
    assert {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in wanted} <= pins


def test_no_root_and_a_token_by_default():
    last = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["1000:1000"]
    assert "RAY_AUTH_MODE=token" in last and 'ENTRYPOINT ["tini", "--"]' in last
    for package in ("bash", "curl", "openssh-client", "procps", "rsync", "tini"):
        assert re.search(rf"install .*\b{package}\b", last), package


def test_the_build_sees_what_it_copies_and_nothing_else():
    """Clips, runs and keys that lie in the folder never reach the builder."""
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == set(allowed)
    assert all((ROOT / source).exists() for source in copied)
    assert "**/__pycache__" in lines
    assert not any(fnmatch.fnmatch(name, pattern) for name in ("data", "runs", ".git", ".venv") for pattern in allowed)


def test_the_comment_names_the_tag_that_the_manifests_use():
    version = re.search(r"^ARG PYTHON_VERSION=(.*)$", DOCKERFILE, re.MULTILINE)[1]
    ray = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    tags = set(re.findall(r"ray[\d.]+-py[\d.]+\d", DOCKERFILE + Path(ROOT / "docs/cluster.md").read_text()))
    assert tags == {f"ray{ray}-py{version}"}
