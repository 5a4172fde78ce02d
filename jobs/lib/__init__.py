"""Code that the jobs share. A job imports it with `from .lib import plots`."""
