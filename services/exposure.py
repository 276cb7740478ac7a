"""Where the service may listen: beyond this machine only once callers need a key."""

from ipaddress import ip_address

from services import keys
from services.database import Database
from services.errors import BadInputError


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    host = host.strip("[]").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(database: Database, host: str) -> None:
    """Refuse to listen on `host` if that lets others call while anybody could."""
    if is_loopback(host):
        return
    with database.read() as session:
        if not keys.required(session):
            raise BadInputError(
                f"MDF_HOST is {host!r}, and there is no API key yet: without keys the service "
                "listens on loopback only (127.0.0.1). Make one on this machine first: "
                "`mdf keys create NAME`"
            )
