"""Why a minifilter does not unload on Wine; other drivers have no such excuse."""

from __future__ import annotations

from pathlib import Path

from harness.guests.wine.unload_limit import unload_limit
from harness.toolchain.clang.compiler import compile_driver
from harness.toolchain.clang.sources import listed_sources
from tests.unit.toolchain.clang.wdk_code import ONE_FILE


def test_a_minifilter_and_another_driver(tmp_path: Path) -> None:
    for name in ("minifilter", "plain"):
        file, text = ONE_FILE[name]
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
        sources = listed_sources(tmp_path / name, [file], "release", libraries=["fltmgr"])
        driver = compile_driver(sources, name, tmp_path / name, tmp_path / "out").driver
        limit = unload_limit(driver)
        assert limit == (
            "Wine's FltRegisterFilter gives a minifilter no unload routine" if name == "minifilter" else ""
        )
    (tmp_path / "no.sys").write_bytes(b"MZ")
    assert unload_limit(tmp_path / "no.sys") == unload_limit(tmp_path / "none.sys") == ""
