"""Who may speak to the page: browsers let any website send requests to this machine."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Guard:
    """Refuses what other sites' pages send (ASGI).

    Args:
      app: what is guarded.
      hosts: by which names it may be asked for: somebody may have a name of theirs lead here.
        Empty: any.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] = ()):
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Passes a request on, or answers it with 403."""
        if scope["type"] == "http" and not self._own(dict(scope["headers"])):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"not from this page"})
            return
        await self._app(scope, receive, send)

    def _own(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        try:
            if self._hosts and urlsplit(f"//{host}").hostname not in self._hosts:
                return False
            return origin is None or urlsplit(origin.decode("latin-1")).netloc == host
        except ValueError:  # no address at all
            return False
