"""`winvm history --html`: a static site that is small, quickly made, safe, and readable on a phone."""

from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.errors import HostError
from harness.outcome import Outcome
from harness.report.history import History
from harness.report.historyfile import transaction
from harness.report.site import write_site
from harness.run.origin import BRANCH, COMMIT, NIGHT, URL
from tests.fakes.recorded_runs import DRIVER, HOSTILE, STARTED, result
from tests.unit.report.test_browser import PROBE, Browser, Root, unguarded
from tests.unit.report.test_history import Nights, ask, nights, project

__all__ = ["nights", "project"]
FAILED = Outcome.FAILED
TYPED = """
<script>
const box = document.querySelector("input.filter");
box.value = "two";
box.dispatchEvent(new Event("input"));
</script>
"""
"""What typing a word does."""


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    (tmp_path / "profiles").mkdir()
    return Browser(tmp_path / "profiles")


def eventful(nights: Nights) -> None:
    origin = {
        COMMIT: "a" * 40,
        BRANCH: HOSTILE,
        URL: "https://forge.example/1",
        NIGHT: "20261121-000000-abcdef",
    }
    nights.add(result("a.one"), result("a.two"), environment={**DRIVER, **origin}, source="night")
    nights.add(nights.crashing("a.one", "c5-x.sys-F"), result("a.two", FAILED), source="night")
    nights.add(
        result("a.one"), result("a.two", Outcome.SKIPPED), environment={**DRIVER, URL: "javascript:x()"}
    )


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


def test_every_page_and_link(nights: Nights, project: Path, tmp_path: Path) -> None:
    eventful(nights)
    done = ask(project, "--html", str(tmp_path / "site"))
    assert done.exit_code == 0 and "wrote 5 pages of 3 runs" in done.output
    pages = sorted(
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")
    )
    assert pages[0] == "crashes.html" and "nights/20261121-000000-abcdef.html" in pages
    for page in (tmp_path / "site").rglob("*.html"):
        links = Links()
        links.feed(page.read_text())
        for link in links.found:
            outside = link == "https://forge.example/1"
            assert outside or (page.parent / link.partition("#")[0]).is_file(), (page, link)
        assert "<script>document.title" not in page.read_text()
        assert "javascript:" not in page.read_text()
        assert "\x1b" not in page.read_text()


def test_it_says_what_happened(nights: Nights, tmp_path: Path) -> None:
    eventful(nights)
    with History(nights.folder) as history:
        write_site(history, tmp_path / "site")
    crashes = (tmp_path / "site" / "crashes.html").read_text()
    assert "c5-x.sys-F" in crashes and nights.runs[1] in crashes
    scenarios = (tmp_path / "site" / "scenarios.html").read_text()
    assert f"failed</span> since {nights.runs[1]}" in scenarios
    assert "changed 2 times with one driver" in scenarios
    night = (tmp_path / "site" / "nights" / "20261121-000000-abcdef.html").read_text()
    assert "Every scenario passed" in night


def test_a_folder_that_cannot_be_written_to(nights: Nights, tmp_path: Path) -> None:
    nights.add(result("a.one"))
    (tmp_path / "site").write_text("a file")
    with History(nights.folder) as history, pytest.raises(HostError, match="cannot be written"):
        write_site(history, tmp_path / "site")


def test_a_thousand_runs_are_small_and_quick(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    environment = json.dumps({**DRIVER, COMMIT: "a" * 40, BRANCH: "main", URL: "https://forge.example/a/b/7"})
    with History(tmp_path / "artifacts") as history:
        with transaction(history._db):
            for number in range(1000):
                run = f"20260101-{number:06d}-{number:06x}"
                kind = "night" if number % 2 else "run"
                row = (
                    run,
                    "wine/release",
                    "wine",
                    STARTED + number * 43200,
                    20.0,
                    "",
                    '{"passed": 199, "failed": 1}',
                )
                history._db.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
                    (*row, environment, kind, "a" * 40),
                )
                history._db.executemany(
                    "INSERT INTO outcomes VALUES (?, ?, ?, 1, 0, 0.02, 'd')",
                    [
                        (
                            run,
                            f"kind.scenario_number_{scenario}",
                            "failed" if scenario == number % 200 else "passed",
                        )
                        for scenario in range(200)
                    ],
                )
        began = time.process_time()
        written = write_site(history, tmp_path / "site")
        took = time.process_time() - began
    size = sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    print(f"{written}: {size / 1e6:.2f} MB in {took:.2f} s")
    assert (written.runs, size < 5e6, took < 5) == (1000, True, True)


@pytest.mark.parametrize("page", ["index.html", "scenarios.html", "crashes.html"])
def test_it_fits_a_phone(nights: Nights, tmp_path: Path, browser: Browser, page: str) -> None:
    eventful(nights)
    with History(nights.folder) as history:
        write_site(history, tmp_path / "site")
    measured = Root(browser.run(unguarded(tmp_path / "site" / page, PROBE), "--dump-dom", width=390)).data
    assert (measured["data-width"], measured["data-overflow"]) == ("390", "0")
    assert HOSTILE not in measured["data-shown"]


def test_the_filter_is_on_under_the_pages_own_policy_and_works(
    nights: Nights, tmp_path: Path, browser: Browser
) -> None:
    eventful(nights)
    with History(nights.folder) as history:
        write_site(history, tmp_path / "site")
    page = tmp_path / "site" / "scenarios.html"
    assert Root(browser.run(page, "--dump-dom")).data["data-filter"] == "on"
    dom = browser.run(unguarded(page, TYPED), "--dump-dom")
    assert dom.count('<tr hidden="">') == 1
    assert "a.two" in dom[dom.index("<tr>", dom.index("tbody")) :]
