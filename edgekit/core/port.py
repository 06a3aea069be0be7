"""A port of ours: who may reach it without a token, and taking it before anything costly starts."""

from __future__ import annotations

import ipaddress
import os
import socket

from edgekit.core.errors import UserError

TOKEN = "EDGEKIT_TOKEN"


def token_of() -> str | None:
    """$EDGEKIT_TOKEN, None where it is not set or empty."""
    return os.environ.get(TOKEN, "").strip() or None


def is_loopback(host: str) -> bool:
    """Whether a host's name or address, with or without the brackets of IPv6, is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def take_port(host: str, port: int, who: str, other: str = "port=…") -> socket.socket:
    """A bound socket, not yet listening. who: the command, for words; other: how another port is chosen.

    Raises UserError where it cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        return door
    except OSError as error:
        raise UserError(
            f"{who}: cannot listen on {host}, port {port}",
            error.strerror or str(error),
            f"stop the other server, or choose another {other} (0 takes any free one)",
        ) from None
