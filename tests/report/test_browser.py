"""Lost if these fail: the report as a reader sees it. Skipped where there is no Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from hsta.report import render
from tests.report.builders import make_results, make_sample

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
# The page's own policy forbids scripts; the copy that is measured goes without it.
MEASURE = """<script>
const shown = [...document.querySelectorAll("svg, img")].filter(e => !e.closest("details"));
const report = {
  boxes: shown.map(e => { const b = e.getBoundingClientRect(); return [b.width, b.height, e.naturalWidth ?? 1]; }),
  page: document.documentElement.scrollWidth, window: window.innerWidth,
};
document.body.dataset.report = JSON.stringify(report);
</script>"""


def open_page(path, profile, *, width: int) -> tuple[str, list[str]]:
    """The DOM after loading, and the console's lines."""
    command = [
        *(
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-sync",
        ),
        *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom"),
        *(f"--user-data-dir={profile}", f"--window-size={width},900", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def page() -> str:
    results = make_results(subjects=4, seeds=(0, 1), datasets=("casme2", "samm"))
    return render(results, samples=[make_sample(), make_sample("s02", prediction="frown")])


def test_the_console_stays_empty(tmp_path, page):
    (tmp_path / "report.html").write_text(page)
    dom, console = open_page(tmp_path / "report.html", tmp_path / "profile", width=1280)
    assert "Confusion matrix" in dom
    assert console == []


def test_a_request_to_elsewhere_would_be_seen(tmp_path, page):
    (tmp_path / "bad.html").write_text(page.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">'))
    _, console = open_page(tmp_path / "bad.html", tmp_path / "profile", width=1280)
    assert any("Content Security Policy" in line for line in console)


@pytest.mark.parametrize("width", [1280, 500])
def test_every_figure_has_a_size_and_the_page_fits(tmp_path, page, width):
    unguarded = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    (tmp_path / "report.html").write_text(unguarded.replace("</body>", f"{MEASURE}</body>"))
    dom, console = open_page(tmp_path / "report.html", tmp_path / "profile", width=width)
    report = json.loads(unescape(re.search(r'data-report="([^"]*)"', dom)[1]))
    assert console == []
    assert len(report["boxes"]) > 20
    narrow = [box for box in report["boxes"] if min(box) < 1]
    assert len(narrow) == (0 if width > 720 else 3), "only the bars of the classes table are left out on narrow screens"
    assert report["page"] <= report["window"]
