"""A digest of the compiled code's sources, so that numba's cache notices a change of any of them."""

import hashlib
from pathlib import Path


def digest_of_sources(package: Path) -> str:
    """A digest of all compiled code of toysup in `package`, and of the constants in it.

    numba itself watches only the file of the cached function, not those of the functions that it calls.
    """
    folders = [package / "engines" / name for name in ("fused", "compiled_samples")]
    files = [*(file for folder in folders for file in sorted(folder.glob("*.py")))]
    files.append(package / "sampling" / "random_words.py")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


# A part of the key of every function that is kept and made of these sources.
SOURCES = digest_of_sources(Path(__file__).parents[2])
