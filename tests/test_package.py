"""What is packaged is what is there, and imports point one way through the layers."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# The rooms of CONTRIBUTING.md, from the top to the bottom: folders, and modules that are a room by themselves.
LAYERS = (ROOT / "CONTRIBUTING.md").read_text().partition("## The layers")[2].partition("\n## ")[0]
ROOMS = re.findall(r"^\| `([a-z_/]+?)/?(?:\.py)?` \|", LAYERS, flags=re.MULTILINE)


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


def room_of(path: Path) -> str | None:
    """The room that a file lies in; None for the tables of contents at the top, which import from all rooms."""
    place = path.relative_to(ROOT).with_suffix("").as_posix()
    rooms = [room for room in ROOMS if place == room or place.startswith(f"{room}/")]
    if not rooms:
        assert place in ("toysup/__init__", "analysis/__init__", "data/__init__", "data/regenerate"), place
        return None
    (room,) = rooms
    return room


def test_packages_are_the_folders_that_exist() -> None:
    listed = {folder_of(package) for package in PROJECT["tool"]["setuptools"]["packages"]}
    existing = {
        path.parent
        for top in ("toysup", "analysis", "data")
        for path in (ROOT / top).rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert listed == existing


def test_a_source_distribution_has_every_file_of_the_repository(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout, so nothing to compare with")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    # Built from a copy of these files: in the checkout, setuptools would find and leave others.
    for name in files:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "copy", check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        packed = {member.name.partition("/")[2] for member in tar if member.isfile()}
    assert packed >= set(files), sorted(set(files) - packed)
    of_setuptools = ("toysup.egg-info/", "PKG-INFO", "setup.cfg")
    assert not [name for name in packed - set(files) if not name.startswith(of_setuptools)]


def test_the_stated_minima_are_those_of_the_lowest_constraints() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    stated = [*PROJECT["project"]["dependencies"], *extras["torch"], *extras["test"]]
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints-lowest.txt").read_text(), flags=re.MULTILINE))
    for name, _, lowest in (requirement.partition(">=") for requirement in stated):
        # What is of the build and not of the tests may be newer.
        if name != "setuptools":
            own = pins[name].split(".")
            assert own[: len(lowest.split("."))] == lowest.split("."), name
            assert set(own[len(lowest.split(".")) :]) <= {"0"}, f"{name}: {pins[name]} is not the lowest {lowest}"


def test_every_room_is_there() -> None:
    assert len(ROOMS) == len(set(ROOMS)) >= 16
    for room in ROOMS:
        assert (ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file(), room


@pytest.mark.parametrize(("module", "path"), modules().items(), ids=list(modules()))
def test_imports_point_down(module: str, path: Path) -> None:
    known, own = modules(), room_of(path)
    if own is None:
        return
    for name in imports(path, module) & known.keys():
        other = room_of(known[name])
        assert other is None or ROOMS.index(other) >= ROOMS.index(own), f"{module} imports {name}, of a room above it"


def test_no_imports_go_round_in_a_circle() -> None:
    """Not even those within functions; a package itself imports its modules lazily."""
    known = {name: path for name, path in modules().items() if path.stem != "__init__"}
    graph = {name: (imports(path, name) & known.keys()) - {name} for name, path in known.items()}
    TopologicalSorter(graph).prepare()


def test_statistics_never_draw_or_read_files() -> None:
    for module, path in modules().items():
        if room_of(path) in ("analysis/statistics", "analysis/loss", "analysis/inference", "analysis/claims"):
            assert not imports(path, module) & {
                "matplotlib",
                "toysup.storage.netcdf",
                "toysup.storage.runs",
                "netCDF4",
            }
        if room_of(path) == "analysis/figures":
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


def test_a_folder_is_read_at_a_glance() -> None:
    """A dozen modules or so, but the figures, of which each module is about one."""
    folders = Counter(path.parent for path in modules().values() if path.stem != "__init__")
    del folders[ROOT / "analysis" / "figures"]
    assert max(folders.values()) <= 14
