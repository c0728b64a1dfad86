"""What is packaged is what is there, and imports point one way through the layers."""

import ast
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# From the first layer to the last; a module may import those above its own line and those beside it.
LAYERS = [
    [f"toysup.{name}" for name in names.split()]
    for names in (
        "errors",
        "experiments",
        "sampling",
        "theory engines.compiled_samples",
        "engines",
        "storage",
        "training torch_module",
        "command",
        "analysis.statistics analysis.loss analysis.inference analysis.claims",
        "analysis.figures",
        "analysis.report.selection analysis.report.tidy_rows analysis.report.panels analysis.report.topics",
        "analysis.report.writing_figures analysis.report.html_page analysis.report.report analysis.command",
    )
]
STATISTICS, FIGURES = LAYERS[-4], LAYERS[-3]


def folder_of(package: str) -> Path:
    mapping = PROJECT["tool"]["setuptools"]["package-dir"]
    for name, folder in mapping.items():
        if package == name or package.startswith(f"{name}."):
            return ROOT / folder / Path(*package.removeprefix(name).strip(".").split("."))
    return ROOT / Path(*package.split("."))


def modules() -> dict[str, Path]:
    found = {}
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        for path in folder_of(package).glob("*.py"):
            found[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return found


def imports(path: Path, module: str = "") -> set[str]:
    """The modules that a file imports; relative ones are resolved against the package of `module`."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int | None:
    """That of the longest name that the module's begins with."""
    found = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(found)[1] if found else None


def test_packages_are_the_folders_that_exist() -> None:
    listed = {folder_of(package) for package in PROJECT["tool"]["setuptools"]["packages"]}
    existing = {
        path.parent
        for top in ("toysup", "analysis", "data")
        for path in (ROOT / top).rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert listed == existing


@pytest.mark.parametrize(("module", "path"), modules().items(), ids=list(modules()))
def test_imports_point_one_way(module: str, path: Path) -> None:
    own = layer(module)
    if own is None:
        assert path.name in ("__init__.py", "regenerate.py")
        return
    for name in imports(path, module):
        other = layer(name)
        assert other is None or other <= own, f"{module} imports {name}, which is in a later layer"


def test_no_imports_go_round_in_a_circle() -> None:
    """Not even those within functions; a package itself imports its modules lazily."""
    known = {name: path for name, path in modules().items() if path.stem != "__init__"}
    graph = {name: (imports(path, name) & known.keys()) - {name} for name, path in known.items()}
    TopologicalSorter(graph).prepare()


def test_statistics_never_draw_or_read_files() -> None:
    for module, path in modules().items():
        if any(module.startswith(f"{name}.") for name in STATISTICS):
            assert not imports(path, module) & {
                "matplotlib",
                "seaborn",
                "toysup.storage.netcdf",
                "toysup.storage.runs",
                "netCDF4",
            }
        if any(module.startswith(name) for name in FIGURES):
            others = {name for name in imports(path, module) if name.startswith("toysup.")}
            allowed = ("toysup.analysis.figures", "toysup.errors")
            assert all(name.startswith(allowed) for name in others), (module, others)


def test_engines_share_the_compiled_samples_and_do_not_import_one_another() -> None:
    rooms = ("fused", "torch_engine", "compiled_samples")
    for module, path in modules().items():
        for room in rooms:
            if module.startswith(f"toysup.engines.{room}"):
                others = {f"toysup.engines.{other}" for other in rooms if other not in (room, "compiled_samples")}
                assert not {name for name in imports(path, module) if name.startswith(tuple(others))}, module


def test_only_commands_know_click_and_rich() -> None:
    for module, path in modules().items():
        if not module.startswith("toysup.command.") and module != "toysup.analysis.command":
            assert not {name.partition(".")[0] for name in imports(path, module)} & {"click", "rich"}, module


def test_a_module_is_of_a_readable_size() -> None:
    assert max(len(path.read_text().splitlines()) for path in modules().values()) <= 400
