"""The HTTP API of a running engine: post events, fire rules, acknowledge, explain, query, follow.

Start with `routes.py`, which assembles the application; `access_control.py` says who may call it.
"""

from catcher.api.routes import create_api
from catcher.api.server import serve_api

__all__ = ["create_api", "serve_api"]
