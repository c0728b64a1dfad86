"""The option `--import` of both commands."""

from __future__ import annotations

from typing import Any

import click


def import_all(context: click.Context, parameter: click.Parameter, names: tuple[str, ...]) -> None:
    """Import what `--import` names; click's usage error if that fails."""
    if not names:
        return
    from toysup.errors import UsageError
    from toysup.experiments.extensions import extension, import_extension

    for name in names:
        try:
            import_extension(extension(name))
        except UsageError as error:
            raise click.UsageError(" ".join(str(error).split()), context) from None


# The keywords of a `click.Option` or `click.option` named --import.
IMPORT: dict[str, Any] = {
    "multiple": True,
    "metavar": "MODULE",
    "expose_value": False,
    "callback": import_all,
    "help": "Import this module or .py file first, which registers your own activations and models. Can be repeated.",
}
