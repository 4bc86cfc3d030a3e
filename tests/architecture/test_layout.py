"""Rules of the house that import-linter can't express."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import components
from components.catalog import STEPS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("components", "governance", "dags")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def test_there_is_no_package_below_tests() -> None:
    """One `__init__.py` there, and `components` means tests/components."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    assert Path(components.__file__).parent == ROOT / "components"


def _functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1) for node in found]


def test_no_function_is_longer_than_70_lines() -> None:
    long = [(name, lines) for path in SOURCES for name, lines in _functions(path) if lines > 70]

    assert long == []


def test_no_module_is_longer_than_400_lines() -> None:
    long = [str(path.relative_to(ROOT)) for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > 400]

    assert long == []


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_step_has_its_files_and_its_docstring_says_what_it_reads_writes_and_refuses(step: str) -> None:
    folder = ROOT / "components" / step
    assert {"__init__.py", "__main__.py", "config.py", "step.py"} <= {path.name for path in folder.iterdir()}

    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    assert len(tree.body) == 1, "__init__.py holds a docstring and no code"
    assert all(word in text for word in ("Reads:", "Writes:", "Refuses:"))
    assert all(artifact in text for artifact in STEPS[step].writes)


@pytest.mark.parametrize("step", sorted(STEPS))
def test_settings_are_refused_before_anything_heavy_is_imported(step: str) -> None:
    heavy = "{'torch', 'transformers', 'mlflow', 'pandas', 'great_expectations'}"
    code = f"import sys, components.{step}.config\nfound = {heavy} & sys.modules.keys()\nsys.exit(str(found) if found else 0)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_only_lineage_imports_mlflow() -> None:
    """Type hints of MLflow's entities elsewhere stand behind TYPE_CHECKING; at run time nobody else imports it."""
    allowed = {"components/lineage.py"}
    found = set()
    for path in SOURCES:
        for node in _runtime_imports(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if any(name.split(".")[0] == "mlflow" for name in names):
                found.add(str(path.relative_to(ROOT)))

    assert found == allowed


def _runtime_imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    found: list[ast.Import | ast.ImportFrom] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        found += _runtime_imports(node)
    return found


def test_no_pickle_is_ever_loaded() -> None:
    """`torch.load` is allowed with weights_only=True alone."""
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, path
        assert "joblib.load" not in text, path
        for line in text.splitlines():
            assert "torch.load(" not in line or "weights_only=True" in line, f"{path}: {line}"


def test_no_shell_is_ever_started() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "shell=True" not in text, path
        assert "os.system(" not in text, path
        assert "BashOperator" not in text, path


def test_the_import_contracts_hold() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
