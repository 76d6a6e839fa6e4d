"""Server of the page: Gradio without analytics, fonts or links from outside, until a stop signal."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI

from tools.figures.report.parts import text_of
from tools.stop_signals import hold_stop_signals

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
STYLE = Path(__file__).with_name("page.css")
SECONDS_TO_CLOSE = 1  # open pages hold a connection, which is cut after this time


def serve(page: gr.Blocks, listener: socket.socket, *, max_bytes: int) -> None:
    """Serve a page until a stop signal, which then has its usual effect.

    Args:
        page: the page.
        listener: from :func:`engine.demo.listener.listening`.
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
    page.has_launched = True  # else Gradio opens any file of this machine that a request names, not only uploaded ones
    config = uvicorn.Config(
        application, log_config=None, log_level=logging.ERROR, access_log=False,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
    )  # fmt: skip
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Server that ends at every stop signal of a script, and without a report of the connections that it cuts."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Close the connections at a stop signal, before it has its effect."""
        with hold_stop_signals(self._end):
            yield

    def _end(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut the connections that do not end in time."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
