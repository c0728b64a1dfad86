"""What numba's cache has to know: that the source of a compiled function, or of one that it calls, has changed."""

import hashlib
from pathlib import Path


def digest_of_sources(package: Path) -> str:
    """Of all the compiled code of toysup in `package`, and of the numbers in it.

    numba itself watches the file of the cached function only.
    """
    folders = [package / "engines" / name for name in ("fused", "compiled_samples")]
    files = [*(file for folder in folders for file in sorted(folder.glob("*.py")))]
    files.append(package / "sampling" / "random_words.py")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


# A cached function that has this in its closure has it in the key under which it is cached.
SOURCES = digest_of_sources(Path(__file__).parents[2])
