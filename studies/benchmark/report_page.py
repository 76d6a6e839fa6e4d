"""CPU time and size of a report, by its parts, and the time in which Chromium opens it, if playwright is installed."""

import argparse
import importlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from dataset.sources import Sources
from engine.report import report_card
from studies.benchmark.opened import opened
from studies.benchmark.timing import peak_memory, process_seconds
from tools.figures.report.page import Report, save_report

PICTURES = {True: 30, False: 1000}  # with --quick and without
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = {"width": 1400, "height": 900}
AT_ONCE = """() => {
    const paint = performance.getEntriesByType("paint").map((entry) => entry.startTime);
    return [Math.min(...paint), performance.getEntriesByType("navigation")[0].loadEventEnd];
}"""


def measure(run: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """Write and open a report of validation pictures of ``--dataset``; returns rows."""
    with tempfile.TemporaryDirectory() as folder:
        trained, data = opened(run, device, Path(folder), PICTURES[run.quick])
        sources, file = Sources(data.in_chans, data=data, numbers=range(len(data)), files=None), Path(folder, "r.html")
        seconds = dict.fromkeys(("pictures read", "maps computed", "cards made, maps computed again", "page"), 0.0)
        before, cards = peak_memory(device), []
        for index in range(len(sources)):
            times = [time.process_time()]
            source = sources[index]
            times.append(time.process_time())
            trained.explain(source.picture)
            times.append(time.process_time())
            cards.append(report_card([trained], source))
            times.append(time.process_time())
            for name, start, end in zip(seconds, times, times[1:], strict=False):
                seconds[name] += end - start
        seconds["page"] = process_seconds(lambda: save_report(file, Report(run.dataset, {}, {}, [], [], cards)))
        n = len(sources)
        rows = [{"report": f"{name}, CPU ms a picture", "value": taken / n * 1000} for name, taken in seconds.items()]
        rows += [{"report": "page, MB", "value": file.stat().st_size / 1e6},
                 {"report": "memory, MB more", "value": (peak_memory(device) - before) / 2**20}]  # fmt: skip
        return rows + [{"report": f"opened: {name}", "value": value} for name, value in opening(file).items()]


def opening(file: Path) -> dict[str, float]:
    """Seconds in which Chromium shows and loads a page, and the CPU seconds of its page; empty without playwright."""
    names = (os.environ.get("CHROME", ""), *BROWSERS)
    binary = next((found for name in names if name and (found := shutil.which(name))), None)
    try:
        driver = importlib.import_module("playwright.sync_api")
    except ImportError:
        return {}
    if binary is None:
        return {}
    with driver.sync_playwright() as started:
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = started.chromium.launch(executable_path=binary, args=flags)
        page = browser.new_context(viewport=WINDOW).new_page()
        page.set_default_timeout(120_000)  # milliseconds; the cores may be busy
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})  # seconds of the processor
        page.goto(file.as_uri())
        values = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        paint, load = page.evaluate(AT_ONCE)
        browser.close()
    return {"first paint, s": paint / 1000, "loaded, s": load / 1000, "CPU s of the page": values["TaskDuration"],
            "of them script": values["ScriptDuration"], "files asked for": len(asked)}  # fmt: skip
