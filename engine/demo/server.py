"""Server of the page: a socket of this machine, and Gradio without analytics, fonts or links from outside."""

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI

from tools import ToolError
from tools.figures.report.parts import text_of

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
STYLE = Path(__file__).with_name("page.css")
SECONDS_TO_CLOSE = 1  # open pages hold a connection, which is cut after this time
FAULTS = {
    errno.EADDRINUSE: "another program uses it: give another --port, or 0 for any that is free",
    errno.EACCES: "that is not allowed: give a --port above 1023",
    errno.EADDRNOTAVAIL: "no such address on this machine: give another --host",
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
        raise ToolError(f"--host {host} is no address: give 127.0.0.1 for this machine alone, 0.0.0.0 for all") from error
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


def serve(page: gr.Blocks, listener: socket.socket, *, max_bytes: int) -> None:
    """Serve a page until a stop signal, which then has its usual effect.

    Args:
        page: the page.
        listener: from :func:`listening`.
        max_bytes: of a file that can be uploaded.
    """
    theme = gr.themes.Base(
        primary_hue="blue", font=[gr.themes.Font(name) for name in FONTS], font_mono=[gr.themes.Font("monospace")]
    )
    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None), page, path="/", footer_links=[], run_history=False, max_file_size=max_bytes,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=theme,
        css=text_of("maps.css") + STYLE.read_text(encoding="utf-8"),
    )  # fmt: skip
    config = uvicorn.Config(
        application, log_config=None, log_level=logging.ERROR, access_log=False,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
    )  # fmt: skip
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Server that ends without a report of the connections that it cuts."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
