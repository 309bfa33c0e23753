"""The rules of the house. If these fail, start-up gets slow or the science gets tied to one engine."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def imports(path: Path) -> set[str]:
    """Top-level names of every import statement in a file, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_the_science_does_not_know_the_engine():
    files = sorted((ROOT / "hsta").rglob("*.py"))
    assert files
    offenders = {str(path) for path in files if imports(path) & {"ray", "workflows", "cluster"}}
    assert offenders == set()


def test_workflows_do_not_know_the_cluster_files():
    assert not {str(path) for path in (ROOT / "workflows").glob("*.py") if "cluster" in imports(path)}


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*(name.split('.')[0] for name in sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_package_is_light():
    assert not {"ray", "torch", "cv2", "pandas"} & loaded_after("import hsta")


def test_data_and_evaluation_need_no_torch():
    modules = "hsta.datasets.manifest, hsta.datasets.shards, hsta.evaluation.results, hsta.report, workflows.config"
    assert not {"ray", "torch"} & loaded_after(f"import {modules}")
