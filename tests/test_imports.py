"""What importing costs: each claim is checked in a fresh interpreter."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(code, *folders):
    """Run code with these folders first on sys.path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT.anchor, capture_output=True, text=True
    )


def modules_after(code):
    code += "\nimport json, sys\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    result = python(code, ROOT)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def test_importing_the_sdk_and_listing_names_loads_no_torch():
    found = modules_after(
        "import registry\nassert 'encoders/stem' in registry.ENCODERS.names()\n"
        "assert all(isinstance(role.names(), list) for role in registry.ROLES.values())"
    )
    assert "registry.roles" in found
    assert not found & {"torch", "torchvision", "cv2", "scipy", "registry.testing.checks"}
    assert not [name for name in found if name.startswith("components.")]


def test_importing_the_zoo_loads_neither_torch_nor_mmengine():
    found = modules_after("import zoo")
    assert "zoo" in found
    assert not found & {"torch", "mmengine", "numpy", "cv2", "registry", "components"}


@pytest.mark.parametrize(
    ("node", "files"),
    [
        (
            {"type": "rasterizers/skeleton", "edges": [[0, 1]], "image_size": 8},
            {"components.rasterizers.skeleton"},
        ),
        ({"type": "encoders/stem", "width": 2}, {"components.encoders.stem"}),
        ({"type": "losses/critic"}, {"components.losses.critic"}),
        (
            {"type": "datasets/standin", "image_size": 8, "num_keypoints": 2},
            {"components.datasets.standin"},
        ),
    ],
)
def test_building_a_component_imports_its_file_and_no_other(node, files):
    found = modules_after(f"import registry\nregistry.build({node!r})")
    shared = ("components.ops", "components.layers")
    parts = {name for name in found if name.count(".") == 2 and name.startswith("components.")}
    assert {name for name in parts if not name.startswith(shared)} == files
    assert "registry.runner" not in found
    assert ("torch" in found) == (not node["type"].startswith("datasets/"))


@pytest.mark.parametrize("name", ["registry", "components"])
@pytest.mark.parametrize("kind", ["{}.py", "{}/__init__.py", "{}/other.py"])
def test_a_file_that_shadows_ours_is_named(name, kind, tmp_path):
    file = tmp_path / kind.format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    result = python("import zoo", tmp_path, ROOT)
    if kind == "{}/other.py":  # a folder without __init__.py gives way to ours
        assert result.returncode == 0, result.stderr
        return
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: {file} shadows {ROOT / name / '__init__.py'} of keypoint-zoo: 'import "
        f"{name}' finds it first. Rename it, or run Python from another folder."
    )


def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "__init__.py").write_text((ROOT / "zoo" / "__init__.py").read_text())
    # -S: without an installed keypoint-zoo
    result = subprocess.run(
        [sys.executable, "-S", "-c", "import zoo"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: keypoint-zoo is incomplete: {tmp_path}/registry/__init__.py is missing. "
        "Reinstall it."
    )


PACKAGES = ("registry", "components", "zoo", "tools")


def imported(tree, name, files):
    """Return our files that a file imports anywhere in it, except for type checkers alone."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:  # from zoo import schema: the file, not the package
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in files else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return {module for module in found if module in files and module != name}


def cycles(graph):
    """Return the sets of files each of which leads to all others of its set."""

    def reached(start):
        seen, front = set(), [start]
        while front:
            for module in graph[front.pop()] - seen:
                seen.add(module)
                front.append(module)
        return seen

    reach = {module: reached(module) for module in graph}
    return {
        tuple(sorted({module} | {other for other in reach[module] if module in reach[other]}))
        for module in graph
        if module in reach[module]
    }


def test_no_files_import_each_other_in_a_circle():
    files = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    graph = {
        name: imported(ast.parse(file.read_text()), name, files) for name, file in files.items()
    }
    assert len(graph) > 150
    assert "zoo.index" in graph["zoo.refs"]  # it does see imports
    assert "zoo.hub" in graph["zoo.sources"]  # inside functions, too
    assert cycles(graph) == set()


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert cycles(graph) == {("a", "b", "c")}
