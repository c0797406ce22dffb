"""The structure of the package: the order of its folders, the homes of heavy packages, and the length of code."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "dnmf"
# A folder or module imports only from those before it, within functions and for types too.
ORDER = [
    "entry",
    "errors",
    "aliases",
    "choices",
    "checks",
    "settings",
    "storage",
    "kernels",
    "sources",
    "engine",
    "solvers",
    "checkpoint",
    "inspection",
    "run",
    "graphs",
    "exports",
    "survey",
    "report",
    "preprocessing",
    "regression",
    "conversion",
    "estimator",
    "api",
    "__init__",
    "cli",
    "__main__",
]
HOMES = {
    "obstore": {"storage"},
    "fsspec": {"storage"},
    "boto3": {"storage"},
    "dask": {"engine", "sources", "estimator"},
    "distributed": {"engine"},
    "h5py": {"sources"},
    "xarray": {"sources"},
    "pandas": {"sources"},
    "pyarrow": {"sources"},
    "anndata": {"sources"},
    "zarr": {"storage", "sources", "checkpoint", "conversion", "estimator", "cli"},
    "click": {"cli"},
    "rich": {"cli", "run"},
    "jinja2": {"inspection", "report"},
    "matplotlib": {"inspection"},
    "sklearn": {"cli", "estimator", "graphs", "sources", "survey"},
    "numba": {"kernels"},
}
MODULES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.Module):
    """Yield the line and the dotted name of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def test_imports_point_downward():
    found = {room(path) for path in MODULES}
    assert found == set(ORDER)
    upward = []
    for path, tree in MODULES.items():
        for line, name in imports(tree):
            top, *rest = name.split(".")
            if top != "dnmf":
                continue
            used = rest[0] if rest and rest[0] in ORDER else "__init__"
            if used != room(path) and ORDER.index(used) >= ORDER.index(room(path)):
                upward.append(f"{path.relative_to(PACKAGE)}:{line} imports {name}")
    assert upward == []


def test_modules_form_no_circle():
    named = {path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", "."): path for path in MODULES}
    named |= {name.removesuffix(".__init__"): path for name, path in named.items()}
    graph = {
        path: {
            used
            for _, name in imports(tree)
            if (used := named.get(name) or named.get(name.rpartition(".")[0])) not in (None, path)
        }
        for path, tree in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_heavy_packages_are_imported_in_their_homes():
    astray = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path, tree in MODULES.items()
        for line, name in imports(tree)
        if room(path) not in HOMES.get(name.partition(".")[0], {room(path)})
    ]
    assert astray == []


def test_modules_and_functions_are_short():
    long = [str(path.relative_to(PACKAGE)) for path in MODULES if len(path.read_text().splitlines()) > 300]
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                docstring = len((ast.get_docstring(node, clean=False) or "").splitlines())
                if node.end_lineno - node.lineno + 1 - docstring > 60:
                    long.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert long == []
