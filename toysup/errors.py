"""The exceptions of toysup: the message is one line that a user can act on."""

from collections.abc import Iterable
from difflib import get_close_matches


class ToysupError(Exception):
    """The work or the data failed.

    The message is one line. The commands print it as `Error: …` and exit with code 1.

    Examples
    --------
    >>> import toysup
    >>> try:
    ...     toysup.open_runs("no-such-folder")
    ... except toysup.ToysupError as error:
    ...     print(error)
    no-such-folder: no such file or folder
    """

    exit_code = 1


class UsageError(ToysupError, ValueError):
    """An argument, an option or a value in a file is wrong.

    The message is one line that names what is wrong and what would be right. The commands print it as `Error: …` and
    exit with code 2. A UsageError is a ValueError too. So pydantic turns a UsageError of a validator into a
    ValidationError, and code that catches ValueError around calls of toysup catches a UsageError with it.

    Examples
    --------
    >>> import toysup
    >>> try:
    ...     toysup.load_experiment("tms-intr")
    ... except ValueError as error:
    ...     print(error)
    no experiment 'tms-intr'; did you mean tms-intro...
    """

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for an unknown name: the most similar known names, or all of them if none is similar."""
    known = sorted(known)
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known) or 'none'}"


def require_torch(purpose: str) -> None:
    """Raise UsageError unless torch can be imported; `purpose` names what needs torch.

    torch is installed by the extra `toysup[torch]`, so whatever needs torch calls this before any work.
    """
    try:
        import torch

        # A folder that an uninstalled torch left behind is imported as an empty module.
        torch.Tensor  # noqa: B018
    except (ImportError, AttributeError, OSError) as error:
        absent = isinstance(error, ModuleNotFoundError | AttributeError)
        reason = "is not installed" if absent else f"cannot be imported ({' '.join(str(error).split())})"
        raise UsageError(f'{purpose} needs torch, which {reason}; pip install "toysup[torch]"') from None
