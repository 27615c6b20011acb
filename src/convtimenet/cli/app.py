"""``convtimenet app``: a page in the browser that trains."""

from __future__ import annotations

import threading
import webbrowser
from typing import TYPE_CHECKING, Any

from convtimenet.cli.outputs import make_console
from convtimenet.cli.serving import check_extra

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def app_flags(parser: ArgumentParser) -> None:
    """Flags of `convtimenet app`."""
    add = parser.add_argument
    add("--port", type=int, default=8010, help="port; 0 takes a free one")
    add("--no_browser", action="store_true", help="print the address without opening it")
    add("--max_mb", type=float, default=64.0, metavar="MB", help="largest file")
    add("--device", type=str, default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps")


def run_app(flags: Any) -> None:
    """Serve the page until a signal stops it."""
    check_extra()
    from convtimenet.serving.server import serve, taken
    from convtimenet.serving.settings import ServeSettings
    from convtimenet.serving.workbench.app import create_workbench

    settings = ServeSettings(port=flags.port, most_bytes=int(flags.max_mb * 2**20))
    console = make_console()

    def started(address: str) -> None:
        console.print(f"open {address} in a browser; stop with Ctrl-C", soft_wrap=True)
        console.file.flush()
        if not flags.no_browser:
            # a thread: some browsers return only when they are closed
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    with taken(settings) as sockets:
        serve(create_workbench(settings, flags.device), settings, sockets, started)
    console.print("stopped")
