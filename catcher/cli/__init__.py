"""The command `catcher`.

Start with `main.py`, which registers the commands; each other file holds the commands of one kind.
"""

from catcher.cli.main import main

__all__ = ["main"]
