"""scenarios.html: every source of the driver, each line with its count and the scenarios that ran it.

As in report.html, every value is escaped and the page's content security policy forbids scripts and requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from harness.coverage.lines import Lines, percent
from harness.display.terminal import printable
from harness.host.regular import open_regular

LARGEST_SOURCE = 4 << 20  # bytes
SHOWN_SCENARIOS = 40
"""Scenarios that are named for one line; scenarios.json has all."""
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}: coverage by scenario</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1rem; }
table { border-collapse: collapse; } td, th { padding: 0 .6em; text-align: left; }
.n { text-align: right; color: #666; } pre { margin: 0; }
.source td { vertical-align: top; } .ran { background: #e6f4e6; } .missed { background: #fbe3e3; }
details summary { cursor: pointer; color: #666; }
@media (prefers-color-scheme: dark) {
  body { background: #111; color: #ddd; } .ran { background: #15301a; } .missed { background: #401a1a; }
}
</style></head><body>
<h1>{{ title }}: coverage by scenario</h1>
<p>{{ total }} of the lines with code ran.
<a href="html/index.html">llvm-cov's pages</a> also have regions and branches.</p>
<table><tr><th>file</th><th class="n">lines</th><th class="n">ran</th><th class="n">%</th></tr>
{% for file in files %}<tr>
<td><a href="#f{{ loop.index }}">{{ file.name }}</a></td>
<td class="n">{{ file.all }}</td><td class="n">{{ file.ran }}</td><td class="n">{{ file.percent }}</td></tr>
{% endfor %}</table>
{% for file in files %}<h2 id="f{{ loop.index }}">{{ file.name }}</h2>
{% if file.why %}<p>{{ file.why }}</p>{% endif %}
<table class="source">{% for line in file.lines %}<tr class="{{ line.kind }}">
<td class="n">{{ line.number }}</td>
<td class="n">{{ line.count }}</td><td><pre>{{ line.text }}</pre></td><td>
{%- if line.by %}<details><summary>{{ line.by | length + line.more }}: {{ line.by[0] }}</summary>
{{ line.by | join(", ") }}</details>{% endif %}</td></tr>
{% endfor %}</table>
{% endfor %}</body></html>
"""


def scenario_page(lines: Lines, scenarios: dict[str, dict[int, list[str]]], root: Path, title: str) -> str:
    """The page. root: the folder that names of files are relative to; lines, scenarios: as in `Coverage`."""
    environment = jinja2.Environment(autoescape=True)
    files = []
    for name, file in sorted(lines.items()):
        text, why = _source(root / name)
        by = scenarios.get(name, {})
        numbers = range(1, max(len(text), max(file.counts)) + 1) if text else sorted(file.counts)
        files.append(
            {
                "name": printable(name),
                "all": len(file.counts),
                "ran": file.covered,
                "percent": f"{percent([file]):.1f}",
                "why": why,
                "lines": [_line(n, text, file.counts.get(n), by.get(n, [])) for n in numbers],
            }
        )
    total = f"{percent(lines.values()):.1f} %"
    return environment.from_string(PAGE).render(title=printable(title), total=total, files=files)


def _line(number: int, text: list[str], count: int | None, by: list[str]) -> dict[str, Any]:
    return {
        "number": number,
        "count": "" if count is None else count,
        "kind": "" if count is None else "ran" if count else "missed",
        "text": printable(text[number - 1].expandtabs(4)) if number <= len(text) else "",
        "by": [printable(name) for name in by[:SHOWN_SCENARIOS]],
        "more": max(0, len(by) - SHOWN_SCENARIOS),
    }


def _source(path: Path) -> tuple[list[str], str]:
    """The lines of a source; empty, and why, if it cannot be shown."""
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST_SOURCE + 1)
    except OSError as error:
        return [], f"{printable(str(path))} cannot be read: {error.strerror}."
    if len(content) > LARGEST_SOURCE:
        return [], f"{printable(str(path))} is larger than {LARGEST_SOURCE} bytes."
    return content.decode("utf-8", "replace").splitlines(), ""
