"""Who may import whom, and which calls belong to one file: read from the source, nothing is run."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("registry", "components", "zoo", "tools")
FILES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for layer in LAYERS
    for path in sorted((ROOT / layer).rglob("*.py"))
}
SHIPPED = {file: tree for file, tree in FILES.items() if not file.startswith("tools/")}


def imports(tree):
    """Every imported module, also inside functions and by a string given to import_module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree):
    """The dotted name of everything that is called: ``torch.load``, ``print``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def names(tree):
    """The last part of every name that is read: ``linspace`` of ``np.linspace``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]


def files_that(predicate, files=SHIPPED):
    return {file for file, tree in files.items() if predicate(tree)}


def test_all_layers_are_looked_at():
    assert {file.split("/")[0] for file in FILES} == set(LAYERS)
    assert len(FILES) > 60


@pytest.mark.parametrize("file", FILES)
def test_nothing_imports_to_the_right(file):
    own = LAYERS.index(file.split("/")[0])
    for module in imports(FILES[file]):
        top = module.split(".")[0]
        assert top not in LAYERS or LAYERS.index(top) <= own, f"{file} imports {module}"
        assert top not in ("tests", "configs"), f"{file} imports {module}"


def test_components_of_one_role_do_not_import_another_role():
    # parts are put together by configs; what several need lies in these
    shared = {"ops", "layers", "steps", "data", "drawing", "competitors"}
    for file, tree in FILES.items():
        parts = file.split("/")
        if parts[0] != "components" or len(parts) < 3:
            continue
        for module in imports(tree):
            top, _, rest = module.partition(".")
            role = rest.split(".")[0]
            if top == "components" and role:
                allowed = shared if parts[1] in shared else shared | {parts[1]}
                assert role in allowed, f"{file} imports {module}"


def test_ops_know_no_registry_and_no_layers():
    for file, tree in FILES.items():
        if file.startswith("components/ops/"):
            modules = [m for m in imports(tree) if m.split(".")[0] in LAYERS]
            assert all(m.startswith("components.ops") for m in modules), f"{file}: {modules}"


def test_one_file_makes_coordinate_grids():
    makers = {"linspace", "meshgrid", "mgrid", "ogrid", "affine_grid", "indices"}
    allowed = {
        "components/ops/grid.py",
        "components/datasets/puppets.py",  # angles of a circle
        "registry/loading.py",  # evenly spaced items
        "registry/testing/examples.py",  # what a spline would give
    }
    assert files_that(lambda tree: makers & set(names(tree))) <= allowed


def test_one_file_counts_pixels_with_torch():
    def counts(tree):
        return any(name == "torch.arange" for name, _ in calls(tree))

    # the checks and the export's trial number the items of a batch
    assert files_that(counts) <= {
        "components/ops/grid.py",
        "registry/testing/checks.py",
        "registry/trial.py",
        "zoo/benchmarks.py",
        "zoo/exporting.py",
    }


def test_one_file_samples_images():
    samplers = {"grid_sample", "remap", "map_coordinates"}
    assert files_that(lambda tree: samplers & set(names(tree))) == {"components/ops/warp.py"}


def test_torch_loads_weights_only():
    found = [
        (file, node)
        for file, tree in FILES.items()
        for name, node in calls(tree)
        if name in ("torch.load", "load") and "torch" in name
    ]
    assert found
    for file, node in found:
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert options.get("weights_only") == "True", f"{file}:{node.lineno}"


def test_no_code_is_read_from_data():
    banned = {"eval", "exec", "compile", "__import__"}
    modules = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    for file, tree in FILES.items():
        assert not banned & {name for name, _ in calls(tree)}, file
        assert not modules & {module.split(".")[0] for module in imports(tree)}, file
        assert not any(
            word.arg == "allow_pickle" for _, node in calls(tree) for word in node.keywords
        ), file


def test_only_tools_print():
    assert files_that(lambda tree: "print" in {name for name, _ in calls(tree)}) == set()


def test_one_file_knows_the_runner_of_mmengine():
    def knows(tree):
        return any(module.startswith("mmengine.runner") for module in imports(tree))

    assert files_that(knows, FILES) == {"registry/runner.py"}


def test_data_sets_do_not_import_torch():
    for file, tree in FILES.items():
        if file.startswith("components/datasets/"):
            tops = {module.split(".")[0] for module in imports(tree)}
            assert not tops & {"torch", "torchvision"}, file


def test_the_rules_see_what_they_forbid():
    tree = ast.parse(
        "def f():\n    from zoo import load\n    import pickle\nnp.linspace(0, 1)\nprint(eval('1'))"
    )
    assert {"zoo", "pickle"} <= set(imports(tree))
    assert "linspace" in set(names(tree))
    assert {"print", "eval"} <= {name for name, _ in calls(tree)}
