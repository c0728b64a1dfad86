"""What numba's cache has to know: that the source of a compiled function, or of one that it calls, has changed."""

import hashlib
from pathlib import Path


def digest_of_sources(folder: Path) -> str:
    """Of all the compiled code in `folder`. numba itself watches the file of the cached function only."""
    files = sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


# A cached function that has this in its closure has it in the key under which it is cached.
SOURCES = digest_of_sources(Path(__file__).parent)
