"""The structure of the package: who may import whom, where heavy dependencies live, how long things may be."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dnmf"
LAYERS = [
    {"drafts", "entry", "errors", "markup", "settings"},
    {"kernels"},
    {"sources"},
    {"plan", "factor", "engine"},
    {"accelerate", "bundle", "state", "solve", "sketch", "initialise", "minibatch", "methods", "stopping"},
    {"watch", "progress", "checkpoint"},
    {"pictures", "profiles", "ranking", "result", "saving", "showing", "stored"},
    {"run", "join", "start", "transform", "survey"},
    {"api", "annotation", "arguments", "convert", "export", "estimator", "preprocessing", "rank", "report"},
    {"cli", "commands", "demo", "ending", "options", "streams", "terminal", "__init__", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HOMES = {
    "obstore": {"sources"},
    "fsspec": {"sources"},
    "boto3": {"sources"},
    "dask": {"engine", "sources", "estimator"},
    "distributed": {"engine"},
    "h5py": {"sources"},
    "xarray": {"sources"},
    "pandas": {"sources"},
    "pyarrow": {"sources"},
    "anndata": {"sources"},
    "zarr": {"sources", "checkpoint", "convert", "demo", "estimator"},
    "click": {"cli", "commands", "ending", "options"},
    "rich": {"progress", "terminal"},
    "matplotlib": {"pictures"},
    "sklearn": {"demo", "estimator", "survey"},
    "numba": {"kernels"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names if node.module == "dnmf")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward_and_heavy_packages_stay_at_home(path):
    part = part_of(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "dnmf" and rest:
            used = rest.partition(".")[0]
            assert used == part or LEVEL.get(used, -1) <= LEVEL[part], f"{part} imports {name}"
        assert part in HOMES.get(top, {part}), f"{part} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - docstring <= 60, node.name
