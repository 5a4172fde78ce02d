"""The command `catcher`."""

from catcher.cli.commands import main

__all__ = ["main"]
