"""report.html in a real browser: no wider than a phone, readable, and nothing in it runs."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.outcome import Outcome
from harness.report.reports import make_reports
from tests.fakes.recorded_runs import (
    EVENTS,
    HOSTILE,
    STARTED,
    crash,
    eventful_run,
    printed,
    result,
    write_run,
)

BROWSER = "chromium-headless-shell"
FLAGS = (
    "--no-sandbox",  # tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WIDTHS = (390, 1280)
DARK = "--blink-settings=preferredColorScheme=0"
PROBE = """
<script>
const root = document.documentElement;
document.querySelectorAll("details").forEach(one => one.open = true);
root.dataset.width = innerWidth;
root.dataset.overflow = root.scrollWidth - innerWidth;
root.dataset.wide = [...document.querySelectorAll("body *")]
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest("svg"))
  .map(one => one.tagName + "." + one.className).join(" ");
root.dataset.shown = document.body.innerText;
</script>
"""
"""Measures the page with everything unfolded. Scripts run only in a copy without the page's own policy."""

if not shutil.which(BROWSER):
    if os.environ.get("CI"):
        pytest.fail(f"{BROWSER} is missing: make test installs it", pytrace=False)
    pytest.skip(
        f"{BROWSER} is not installed: sudo vm/host/install.sh test-packages.txt", allow_module_level=True
    )


@dataclass(frozen=True)
class Browser:
    """A browser with a profile of its own for each call."""

    folder: Path

    def run(self, page: Path, *options: str, width: int = 390, height: int = 844) -> str:
        """Loads a page; what the browser prints."""
        profile = self.folder / f"profile-{len(list(self.folder.iterdir()))}"
        command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", *options]
        done = subprocess.run(
            [*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    def picture(self, page: Path, *options: str, width: int, height: int) -> bytes:
        """A screenshot as PNG."""
        file = self.folder / "screenshot.png"
        self.run(page, f"--screenshot={file}", *options, width=width, height=height)
        return file.read_bytes()


class Root(HTMLParser):
    """The attributes of a page's root element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.data: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "html":
            self.data = {name: value or "" for name, value in attrs}


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The report of a run with everything in it, names as long as they get included."""
    write_run(tmp_path, "20261120-010101-aaaaaa", [result("registers.short_buffers")], started=STARTED - 9e4)
    folder = eventful_run(tmp_path, "20261121-052421-ad79c2", broke_off="winvm: no answer", planned=12)
    made = make_reports(folder, folder, tmp_path, lambda text: pytest.fail(text))
    assert made.page
    return made.page


def unguarded(page: Path, script: str = "") -> Path:
    """A copy of the page without its policy against scripts, with a script of the test's own at its end."""
    text = page.read_text(encoding="utf-8")
    policy, *rest = re.findall(r'<meta http-equiv="Content-Security-Policy"[^>]*>', text)
    assert rest == []
    copy = page.with_name("unguarded.html")
    copy.write_text(text.replace(policy, "").replace("</body>", f"{script}</body>"), encoding="utf-8")
    return copy


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_no_wider_than_the_screen_and_all_there(browser: Browser, page: Path, width: int) -> None:
    measured = Root(browser.run(unguarded(page, PROBE), "--dump-dom", width=width)).data
    assert measured["data-width"] == str(width)
    assert (measured["data-overflow"], measured["data-wide"]) == ("0", "")
    shown = measured["data-shown"]
    for words in (
        "The driver took the guest down",
        "New crashes 1",
        "expected 3 bytes, got 4",
        "c0000005-winvm.sys-CompleteNext",
        "driver/src/async.c:211",
        "DeviceIoControl WinvmFault code=0x22A408",
        "user-mdl-mapping",
        HOSTILE[: HOSTILE.index("\x1b")],
        r"\x1b[31m\x07",
    ):
        assert words in shown


def test_nothing_in_it_runs(browser: Browser, page: Path) -> None:
    attacks = (
        "<script>document.documentElement.dataset.owned = 1</script>",
        "<img src=x onerror='document.documentElement.dataset.owned = 1'>",
        "'\"><svg onload=document.documentElement.dataset.owned=1>",
        "</pre></details></style><script>document.documentElement.dataset.owned = 1</script>",
        "{{ 7 * 191 }}{% raw %}",
    )
    results = [
        result(
            attack,
            Outcome.FAILED,
            message=attack,
            detail=attack,
            dbgprint=printed(attack),
            notes=(attack,),
            file=attack,
            build=attack,
        )
        for attack in attacks
    ]
    crashed = crash(
        page.parent / "hostile" / "crashes" / "01-a", attacks[0], attacks[1], likely_cause=attacks[2]
    )
    results.append(
        result("a.crash", Outcome.CRASHED, crash=dataclasses.replace(crashed, last_operation=attacks[3]))
    )
    folder = write_run(
        page.parent,
        "hostile",
        results,
        events=EVENTS,
        missing_capabilities=attacks,
        guest=attacks[0],
        cell=attacks[1],
        broke_off=attacks[2],
        environment={attacks[3]: attacks[1]},
    )
    made = make_reports(folder, folder, None, lambda text: pytest.fail(text))
    assert made.page
    works = "<script>document.documentElement.dataset.probe = 1</script>"
    for copy in (made.page, unguarded(made.page, works)):
        dom = browser.run(copy, "--dump-dom")
        assert "data-owned" not in Root(dom).data
        assert "{{ 7 * 191 }}" in dom
        assert "1337" not in dom
    assert Root(dom).data["data-probe"] == "1"  # a script would have run


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_painted_in_light_and_in_dark(browser: Browser, page: Path, width: int) -> None:
    blank = page.with_name("blank.html")
    blank.write_text("<!doctype html>")
    height = 2000
    light = browser.picture(page, width=width, height=height)
    dark = browser.picture(page, DARK, width=width, height=height)
    assert struct.unpack(">II", light[16:24]) == (width, height)
    assert min(len(light), len(dark)) > 10 * len(browser.picture(blank, width=width, height=height))
    assert light != dark
