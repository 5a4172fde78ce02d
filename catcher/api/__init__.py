"""The HTTP API: post events, fire, acknowledge, explain, look up, and follow what happens."""

from catcher.api.routes import create_api
from catcher.api.serving import serve

__all__ = ["create_api", "serve"]
