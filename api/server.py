"""The API's process: one event loop that ends its streams first when it stops."""

import socket

import uvicorn

from api.app import create_app
from api.runtime import Runtime
from services.exposure import check_host
from services.installation import Installation

# Of a stop: for requests that are being answered.
GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """Uvicorn, with event streams that end when the server is asked to."""

    def __init__(self, installation: Installation) -> None:
        settings = installation.settings
        app = create_app(installation)
        self._runtime: Runtime = app.state.runtime
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http="h11",
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=True,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=GRACE_SECONDS,
                h11_max_incomplete_event_size=1 << 16,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then all else."""
        self._runtime.feeds.end_streams()
        await super().shutdown(sockets)


def serve(installation: Installation) -> None:
    """Serve until SIGINT or SIGTERM."""
    check_host(installation.database, installation.settings.host)
    Server(installation).run()
