"""Where webhooks may lead: what the whole Internet reaches, and networks that the operator lists.

Whoever makes a webhook has this machine send requests for them. It must not knock on doors that
are closed to them: its own services, its neighbours, the cloud's metadata.
"""

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import httpx

from services.errors import BadInputError, Problem
from services.exposure import is_loopback

MAX_URL = 2000  # characters

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
# The registries of special addresses (RFC 6890 and after), and multicast. Written out, because
# Python's own idea of them differs from version to version.
_CLOSED = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # public, and yet the host of virtual machines in Azure
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# IPv6 addresses that end in the IPv4 address which is meant: mapped ones, and NAT64.
_EMBEDDING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


class Reach:
    """Which addresses may be called: all public ones, and those in `networks`."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)

    def allows(self, address: str) -> bool:
        """Whether the address, as the resolver gives it, may be called."""
        meant = ip_address(address.partition("%")[0])
        if isinstance(meant, IPv6Address) and any(meant in network for network in _EMBEDDING):
            meant = IPv4Address(int(meant) & 0xFFFFFFFF)
        if any(meant in network for network in self._networks):
            return True
        if isinstance(meant, IPv6Address) and meant not in _GLOBAL_UNICAST:
            return False
        return not any(meant in network for network in _CLOSED)

    def check(self, url: str) -> str:
        """The URL in its normal form.

        A host that is a name is not looked up here: what it means is checked at each delivery.

        Raises: BadInputError for a URL that no message can be sent to.
        """
        fault = self._fault(url)
        if fault is None:
            return str(httpx.URL(url))
        raise BadInputError(
            f"a webhook cannot be sent to that URL: it {fault}", problems=(Problem("/url", fault),)
        )

    def _fault(self, url: str) -> str | None:
        try:
            parts = httpx.URL(url)
        except (httpx.InvalidURL, ValueError):
            return "is not a URL: it must look like https://host.example/path"
        host = parts.raw_host.decode()  # as it is looked up, without a guess at what it stands for
        address = _address(host)
        faults = {
            "must begin with https:// or http://": parts.scheme not in ("http", "https"),
            "must name a host": _HOST.fullmatch(host) is None,
            "must not hold a user or a password: check the signature instead": bool(parts.userinfo),
            "must not end in a #fragment": bool(parts.fragment),
            "must have a port from 1 to 65535": parts.port is not None
            and not 1 <= parts.port <= 65535,
            f"must have {MAX_URL} characters at most": len(str(parts)) > MAX_URL,
            "leads into a network that may not be called: only addresses that the whole Internet "
            "reaches may, and networks that the operator lists in MDF_WEBHOOK_NETWORKS": (
                address is not None and not self.allows(address)
            ),
        }
        return next((fault for fault, there in faults.items() if there), None)


def _address(host: str) -> str | None:
    """The address that a host is without being looked up, in any way of writing one."""
    with suppress(ValueError):
        return str(ip_address(host))
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))  # such as 127.1 and 2130706433
    return "127.0.0.1" if is_loopback(host) else None
