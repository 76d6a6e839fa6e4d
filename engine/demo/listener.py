"""Socket that the page is served on, opened before anything that takes long; imports nothing heavy."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from tools import ToolError

NO_ADDRESS = "this machine has no such address: give 127.0.0.1 for itself alone, 0.0.0.0 for all that reach it"
FAULTS = {
    errno.EADDRINUSE: "another program uses it: give another --port, or 0 for any that is free",
    errno.EACCES: "that is not allowed: give a --port above 1023",
    errno.EADDRNOTAVAIL: NO_ADDRESS,
}


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address, before anything that takes long.

    Raises:
        ToolError: the address is none of this machine, or the port is in use or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"--host {host}: {NO_ADDRESS}") from error
    with listener:
        if os.name == "posix":  # a port of which a connection was just closed; elsewhere it would take one in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError as error:
            fault = FAULTS.get(error.errno or 0, error.strerror)
            raise ToolError(f"--host {host} --port {port}: {fault}") from error
        yield listener


def url_of(listener: socket.socket) -> str:
    """Address of the page for a browser of this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    host: str = listener.getsockname()[0]
    return host.startswith("127.") or host == "::1"
