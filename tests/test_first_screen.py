"""What is seen of README before anything is scrolled."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.app

ROOT = Path(__file__).resolve().parents[1]
STYLE = """body{max-width:980px;margin:0 auto;padding:45px;font:16px/1.5 sans-serif}
*{box-sizing:border-box}
h1{font-size:2em;margin:0 0 16px;padding-bottom:.3em}p,table{margin:0 0 16px}img{max-width:100%}
table{display:block;width:max-content;max-width:100%;overflow:auto;border-collapse:collapse}
td,th{padding:6px 13px;border:1px solid}"""
"""As code-hosting pages show Markdown."""


def data_url(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def test_both_pictures_are_on_the_first_screen_and_lead_to_their_pages():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium; `make .cache/chromium` installs it")
    markdown: Any = pytest.importorskip("markdown_it")
    from playwright.sync_api import sync_playwright

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    body = markdown.MarkdownIt("commonmark").enable("table").render(text)
    page = f"<!DOCTYPE html><style>{STYLE}</style>{body}"
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        one = browser.new_page(viewport={"width": 1280, "height": 900})
        for name in ("app-1280-light.png", "report-forecasting.png"):
            picture = ROOT / "docs" / "img" / name
            page = page.replace(f"docs/img/{name}", data_url(picture), 1)
        one.set_content(page)
        one.wait_for_function("[...document.images].slice(0, 2).every((i) => i.naturalWidth)")
        boxes = [image.bounding_box() for image in one.locator("a > img").all()[:2]]
        links = one.locator("a:has(> img)").evaluate_all(
            "all => all.map((a) => a.getAttribute('href'))"
        )
        browser.close()
    assert links[:2] == ["docs/app.md", "docs/report.md"]
    for box in boxes:
        assert box is not None
        assert box["width"] >= 300
        assert box["y"] + box["height"] <= 900
