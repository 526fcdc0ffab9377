"""The house rules: imports go to earlier groups only, heavy libraries enter in one named file, start-up stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "radwright"
GROUPS = (
    {"errors", "types"},
    {"config", "tables"},
    {"text", "imaging", "nn"},
    {"findings"},
    {"metrics", "data", "decoding"},
    {"methods"},
    {"inference"},
    {"training", "evidence", "evaluation"},
    {"runs"},
    {"scale", "serving"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(GROUPS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
# Heavy library -> the only files that may import it.
ENTRANCES = {
    "lightning_fabric": {"training/engine.py"},
    "tensorboard": set(),
    "transformers": {"nn/huggingface.py"},
    "peft": {"nn/language.py"},
    "tokenizers": {"text/subwords.py"},
    "pydicom": {"imaging/dicom.py", "serving/out/sr.py", "serving/pacs/network.py"},
    "pynetdicom": {"serving/pacs/network.py"},
    "gdcm": {"imaging/dicom.py"},
    "fhir": {"serving/out/fhir.py"},
    "pyarrow": {"data/store.py", "data/parquet.py"},
    "fsspec": {"data/remote.py"},
    "onnx": {"inference/onnx_export.py"},
    "onnxscript": {"inference/onnx_export.py"},
    "onnxruntime": {"inference/onnx_backend.py", "inference/onnx_export.py"},
    "sacrebleu": {"metrics/chrf.py"},
    "snowballstemmer": {"metrics/meteor.py"},
    "fastapi": {f"serving/http/{name}.py" for name in ("app", "common", "images", "reports", "studies", "system")},
    "uvicorn": {"serving/running.py"},
    "prometheus_client": {"serving/counters.py"},
    "ray": {"scale/cluster.py"},
}
FORBIDDEN = {"torchvision", "timm", "litdata", "torchxrayvision", "streaming", "open_clip"}


def imported(path: Path) -> list[str]:
    """Every dotted module that a file imports, anywhere in it; ``require("x", ...)`` counts."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "radwright"
                else [node.module or ""]
            )
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "require"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            names.append(str(node.args[0].value))
    return names


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_to_earlier_groups_only(path: Path) -> None:
    room = room_of(path)
    if room in {"__init__", "__main__"}:
        return
    assert room in LEVEL, f"{room} is no room of the house: add it to GROUPS and to the design"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "radwright" or len(parts) < 2 or parts[1] in {room, "__version__"}:
            continue
        assert LEVEL[parts[1]] < LEVEL[room], f"{path}: {room} may not import {name}"


def test_siblings_of_the_ground_floor_do_not_import_torch() -> None:
    for room in ("errors", "types", "config", "tables"):
        tree = ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            assert not (isinstance(node, ast.Import | ast.ImportFrom) and "torch" in ast.unparse(node)), room


@pytest.mark.parametrize("library", sorted(ENTRANCES))
def test_heavy_library_enters_in_its_own_file(library: str) -> None:
    users = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(name.split(".")[0] == library for name in imported(path))
    }
    assert users <= ENTRANCES[library]


def test_no_forbidden_library_anywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [need for extra in project["optional-dependencies"].values() for need in extra]
    names = {re.split(r"[\[<>=~! ]", need, maxsplit=1)[0].replace("-", "_").lower() for need in wanted}
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names |= {line.partition("==")[0].replace("-", "_").lower() for line in constraints}
    assert not names & (FORBIDDEN | {"mosaicml_streaming"})
    for path in FILES:
        assert not {name.split(".")[0] for name in imported(path)} & FORBIDDEN, path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["prepare", "--help"],
        ["train", "--help"],
        ["generate", "--help"],
        ["clues", "--help"],
        ["evaluate-clues", "--help"],
        ["import-released", "--help"],
        ["score", "--help"],
        ["evaluate", "--help"],
        ["explain", "--help"],
        ["evaluate-evidence", "--help"],
        ["calibrate", "--help"],
        ["label", "--help"],
        ["compare", "--help"],
        ["robustness", "--help"],
        ["stress", "--help"],
        ["check-privacy", "--help"],
        ["serve", "--help"],
        ["token", "--help"],
        ["audit", "--help"],
        ["export", "--help"],
        ["listen", "--help"],
        ["demo", "--help"],
    ],
)
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom radwright.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_no_print_outside_the_command_line() -> None:
    for path in FILES:
        if room_of(path) == "cli":
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path
