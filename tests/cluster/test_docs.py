"""The pages about clusters. If these fail, a reader types a command that does not do what the page says."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.workflows.conftest import ROOT

PAGE = (ROOT / "docs/cluster.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^ {4,}.*\n)+(?:\n(?: {4,}.*\n)+)*", PAGE, re.MULTILINE)]
HERE = [block for block in BLOCKS if not block.startswith("# needs ")]


def test_every_block_is_run_or_says_what_it_needs():
    assert len(HERE) >= 2 and len(BLOCKS) - len(HERE) >= 6


@pytest.mark.parametrize("block", HERE, ids=lambda block: block.split()[0])
def test_what_can_run_here_prints_what_the_page_says(block):
    if shutil.which(block.split()[0]) is None:
        pytest.skip(f"{block.split()[0]} is not installed")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-ec", block], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "print(" in block:
        assert f"`{done.stdout.strip()}`" in PAGE


def test_files_and_commands_that_the_pages_name_are_there():
    text = PAGE + (ROOT / "docs/security.md").read_text()
    for name in re.findall(r"cluster/[\w./-]*[\w]", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\(([\w-]+\.md)\)", text):
        assert (ROOT / "docs" / name).exists(), name
    modules = set(re.findall(r"python -m (workflows\.\w+)", text))
    assert {"workflows.prepare", "workflows.loso", "workflows.doctor", "workflows.status"} <= modules
    assert all(importlib.util.find_spec(name) for name in modules)


def test_resources_that_the_page_names_are_those_of_the_manifests():
    manifests = "".join(path.read_text() for path in (ROOT / "cluster/kuberay").rglob("*.yaml"))
    for name in re.findall(r"create secret generic ([\w-]+)", PAGE):
        assert f"name: {name}" in manifests
    for name in re.findall(r"(?:rayjob|job-name=|raycluster) ?(hsta[\w-]*)", PAGE):
        assert re.search(rf"(name: |value: ){name}\b", manifests), name
