"""An edit of any source of compiled code is compiled, although numba watches one file of each cached function."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import toysup
from toysup.engines.compiled_samples import batches
from toysup.engines.compiled_samples.source_digest import SOURCES, digest_of_sources
from toysup.engines.fused import kernel
from toysup.engines.fused.activations import FUNCTIONS
from toysup.engines.fused.gradient import row_errors_of

FOLDER = Path(toysup.__file__).parent
SOURCE_FILES = [
    *(f"engines/fused/{path.name}" for path in sorted((FOLDER / "engines/fused").glob("*.py"))),
    *(f"engines/compiled_samples/{path.name}" for path in sorted((FOLDER / "engines/compiled_samples").glob("*.py"))),
    "sampling/random_words.py",
]

# Prints where `batches` was imported from, an order of the compiled generator, and whether numba's cache had it.
ORDER = """
import json
from toysup.engines.compiled_samples import batches
order = batches.order(3, 1, 20).tolist()
stats = batches._order.stats
print(json.dumps([batches.__file__, order, sum(stats.cache_hits.values()), sum(stats.cache_misses.values())]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of toysup that may be edited."""
    copied = tmp_path / "toysup"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("edited", SOURCE_FILES)
def test_the_digest_covers_every_compiled_source(package: Path, edited: str) -> None:
    assert digest_of_sources(package) == SOURCES
    (package / edited).write_text((package / edited).read_text() + "# edited\n")
    assert digest_of_sources(package) != SOURCES


def test_cached_functions_have_the_digest_in_their_key() -> None:
    for function in (kernel._kernel(True), batches._draw, batches._draw_sparse, batches._order):
        assert SOURCES in function._cache._key
    assert kernel._kernel(False)._cache._key != kernel._kernel(True)._cache._key
    keys = {row_errors_of(name, "float32")._cache._key for name in FUNCTIONS}
    assert len(keys) == len(FUNCTIONS)


def test_an_edited_source_is_compiled_anew(package: Path) -> None:
    def ordered() -> tuple[list[int], int, int]:
        """An order as a new process draws it, how often it was loaded from the cache, and how often it was not."""
        environment = os.environ | {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": str(package.parent / "cache")}
        command = [sys.executable, "-c", ORDER]
        done = subprocess.run(command, env=environment, cwd=package.parent, capture_output=True, text=True, check=True)
        parts: list[Any] = json.loads(done.stdout)
        file, order, hits, misses = parts
        assert Path(file).is_relative_to(package)
        return order, hits, misses

    first, hits, misses = ordered()
    assert (hits, misses) == (0, 1)
    assert ordered() == (first, 1, 0)
    edit(package / "sampling/random_words.py", "ROUNDS = 7", "ROUNDS = 8")
    other, hits, misses = ordered()
    assert (hits, misses) == (0, 1)
    assert other != first
