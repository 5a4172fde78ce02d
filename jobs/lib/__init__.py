"""Code that the jobs share. A job says `from .lib import plots`."""
