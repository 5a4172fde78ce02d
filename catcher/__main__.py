"""`python -m catcher` is the command `catcher`."""

from catcher.cli import main

if __name__ == "__main__":
    main()
