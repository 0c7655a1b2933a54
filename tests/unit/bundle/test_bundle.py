"""Crash bundles: what is in them, and that a hostile one is refused before anything of it is used."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.bundle import read as unbundle
from harness.bundle.manifest import (
    AGENT,
    MANIFEST,
    CompanionDriver,
    Driver,
    Trigger,
    member_files,
    profile_document,
    write_bundle,
)
from harness.bundle.payload import Payload
from harness.bundle.read import unpack
from harness.errors import BundleError
from harness.project.config import ServiceSection
from harness.project.profiles import find_profile
from harness.toolchain.deployed import Companion
from harness.toolchain.package import take_package

DRIVER = Driver(service="drv", build="fault", contract="contract")
DESCRIBED: dict[str, Any] = {
    "winvm": "0.1.0",
    "signature": "e2-drv.sys",
    "what": "bugcheck 0xe2",
    "trigger": Trigger(kind="scenario", name="s.one[a]", parameters={"x": 1}, seed=7),
    "driver": DRIVER,
    "guest": "wine",
    "profile": profile_document(find_profile("wine")),
    "image": "ab" * 32,
    "environment": {"accelerator": "tcg"},
}
Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    (folder / "crash").mkdir()
    (folder / "crash" / "journal.jsonl").write_bytes(b'{"n":1}\n')
    (folder / "crash" / "crash.json").write_bytes(b"{}")
    for name in ("agent.pyz", "drv.sys", "drv.pdb", "image.json"):
        (folder / name).write_bytes(name.encode() * 1000)
    payload = Payload(folder / "agent.pyz", "drv", {"fault": folder / "drv.sys"}, "contract")
    return member_files(payload, DRIVER, folder / "image.json", folder / "crash")


@pytest.fixture(scope="module")
def good(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bundle") / "crash-e2-drv.sys.tar.zst"
    write_bundle(target, files, **DESCRIBED)
    return target


def members(bundle: Path) -> Members:
    with tarfile.open(fileobj=io.BytesIO(plain(bundle)), mode="r:") as archive:
        return [(info, read.read() if (read := archive.extractfile(info)) else b"") for info in archive]


def plain(bundle: Path) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(bundle.read_bytes())).read()


def packed(target: Path, content: bytes) -> Path:
    target.write_bytes(zstandard.ZstdCompressor().compress(content))
    return target


def archived(target: Path, chosen: Members, form: int = tarfile.USTAR_FORMAT) -> Path:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for info, content in chosen:
            archive.addfile(info, io.BytesIO(content))
    return packed(target, sink.getvalue())


def test_a_bundle_comes_out_as_it_went_in(good: Path, tmp_path: Path) -> None:
    bundle = unpack(good, tmp_path / "out")
    assert bundle.agent.read_bytes() == b"agent.pyz" * 1000
    assert bundle.driver.with_suffix(".pdb").read_bytes() == b"drv.pdb" * 1000
    assert bundle.journal.read_bytes() == b'{"n":1}\n'
    assert bundle.manifest.trigger == DESCRIBED["trigger"]
    assert not (tmp_path / "out" / "crash" / "crash.json").exists()  # nothing but what a replay needs


def test_the_same_crash_gives_the_same_bytes_and_ordinary_tools_read_them(
    good: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    for file in files.values():
        os.utime(file, (1, 1))
    write_bundle(tmp_path / "again", files, **DESCRIBED)
    assert (tmp_path / "again").read_bytes() == good.read_bytes()
    names = [info.name for info, _ in members(good)]
    assert names == [MANIFEST, *sorted(names[1:])]
    assert {(info.mtime, info.uid, info.mode) for info, _ in members(good)} == {(0, 0, 0o644)}


def test_files_other_drivers_and_the_service_come_along(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "crash").mkdir()
    made = ServiceSection(start="system", parameters={"Limit": 5, r"Instances\DefaultInstance": "drv"})
    payload = Payload(
        files[AGENT],
        "drv",
        {"fault": files[DRIVER.member]},
        "",
        made=made,
        files={"x64/test.exe": files[AGENT]},
        companions=(Companion("bus", {"fault": files[DRIVER.member]}),),
    )
    driver = Driver(service="drv", build="fault", contract="", made=made)
    other = CompanionDriver(service="bus")
    whole = member_files(payload, driver, files[AGENT], tmp_path / "crash")
    write_bundle(tmp_path / "bundle", whole, **{**DESCRIBED, "driver": driver, "companions": [other]})
    unpacked = unpack(tmp_path / "bundle", tmp_path / "out")
    assert unpacked.manifest.driver.made == made
    assert {place: file.read_bytes() for place, file in unpacked.files.items()} == {
        "x64/test.exe": files[AGENT].read_bytes()
    }
    assert unpacked.companion(other).read_bytes() == files[DRIVER.member].read_bytes()
    del whole["companions/bus.sys"]
    write_bundle(tmp_path / "short", whole, **{**DESCRIBED, "driver": driver, "companions": [other]})
    with pytest.raises(BundleError, match="is missing"):
        unpack(tmp_path / "short", tmp_path / "none")


def test_the_package_that_installs_the_driver_comes_along(files: dict[str, Path], tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "amd64").mkdir(parents=True)
    for name in ("drv.inf", "drv.cat", "amd64/drv.sys"):
        (package / name).write_text(name)
    (tmp_path / "crash").mkdir()
    driver = Driver(service="drv", build="fault", contract="", inf="drv.inf", verified=True)
    packages = {"fault": take_package(package / "drv.inf")}
    payload = Payload(files[AGENT], "drv", {"fault": files[DRIVER.member]}, "", packages=packages)
    whole = member_files(payload, driver, files[AGENT], tmp_path / "crash")
    write_bundle(tmp_path / "bundle", whole, **{**DESCRIBED, "driver": driver})
    unpacked = unpack(tmp_path / "bundle", tmp_path / "out")
    assert unpacked.inf
    assert len(take_package(unpacked.inf).files) == 3
    assert (tmp_path / "out" / "package" / "amd64" / "drv.sys").read_text() == "amd64/drv.sys"
    assert unpacked.manifest.driver.verified


def test_a_bundle_that_cannot_be_written_leaves_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_bundle(tmp_path / "x", {**files, "crash/gone": tmp_path / "gone"}, **DESCRIBED)
    with pytest.raises(ValueError, match="pattern"):
        write_bundle(tmp_path / "x", {**files, "../up": files[AGENT]}, **DESCRIBED)
    assert list(tmp_path.iterdir()) == []


def renamed(name: str) -> Callable[[Members], Members]:
    def change(chosen: Members) -> Members:
        info = tarfile.TarInfo(name)
        info.size = len(chosen[1][1])
        return [*chosen, (info, chosen[1][1])]

    return change


def special(kind: bytes) -> Callable[[Members], Members]:
    def change(chosen: Members) -> Members:
        info = tarfile.TarInfo(AGENT)
        info.type, info.linkname = kind, "/etc/passwd"
        return [chosen[0], (info, b""), *chosen[1:]]

    return change


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], Members]:
    def apply(chosen: Members) -> Members:
        document = json.loads(chosen[0][1])
        change(document)
        text = json.dumps(document).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(text)
        return [(info, text), *chosen[1:]]

    return apply


def tampered(chosen: Members) -> Members:
    return [(info, content[:-1] + b"!" if info.name == AGENT else content) for info, content in chosen]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("/etc/cron.d/x"), "'/etc/cron.d/x' is not in the manifest"),
        (renamed("../../x"), "'../../x' is not in the manifest"),
        (renamed("driver/..\x1b[31m/x"), r"is not in the manifest"),
        (renamed(AGENT), "'agent.pyz' is in the archive twice"),
        (special(tarfile.SYMTYPE), "'agent.pyz' is not a plain file"),
        (special(tarfile.LNKTYPE), "is not a plain file"),
        (special(tarfile.CHRTYPE), "is not a plain file"),
        (special(tarfile.FIFOTYPE), "is not a plain file"),
        (special(tarfile.DIRTYPE), "is not a plain file"),
        (tampered, "'agent.pyz' has another SHA-256"),
        (lambda chosen: chosen[1:], "its first member is not manifest.json"),
        (lambda chosen: chosen[:1], "'agent.pyz' is missing"),
        (lambda chosen: [], "its first member is not manifest.json"),
        (edited(lambda m: m.update(schema=2)), "does not support"),
        (edited(lambda m: m.update(more=1)), "more: Extra inputs"),
        (edited(lambda m: m["members"].pop(AGENT)), "'agent.pyz' is not in the manifest"),
        (edited(lambda m: m["members"][AGENT].update(size=5)), "has 9000 bytes, but 5 in the manifest"),
        (edited(lambda m: m["members"][AGENT].update(size=1 << 40)), "less than or equal"),
        (edited(lambda m: m["members"].update({"../x": m["members"][AGENT]})), "should match pattern"),
        (edited(lambda m: m["members"].update({"a/b/c/d/e": m["members"][AGENT]})), "should match pattern"),
        (edited(lambda m: m["driver"].update(build="../../x")), "driver.build"),
        (edited(lambda m: m["driver"].update(service="other")), "is missing"),
        (edited(lambda m: m["driver"].update(inf="../x.inf")), "driver.inf"),
        (edited(lambda m: m["trigger"].update(deadline_s=1e9)), "trigger.deadline_s"),
        (edited(lambda m: m["trigger"].update(name="x" * 20_000)), "trigger.name"),
        (edited(lambda m: m["environment"].update(a="x" * (2 << 20))), "more than 1048576"),
    ],
)
def test_what_a_bundle_may_not_have_is_refused_by_name(
    good: Path, tmp_path: Path, change: Callable[[Members], Members], message: str
) -> None:
    bad = archived(tmp_path / "bad.tar.zst", change(members(good)))
    with pytest.raises(BundleError) as caught:
        unpack(bad, tmp_path / "out")
    assert message in str(caught.value)
    assert caught.value.remedy
    assert "\x1b" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [bad]


def test_extended_headers_are_refused_unread(good: Path, tmp_path: Path) -> None:
    chosen = members(good)
    chosen[1][0].pax_headers = {"comment": "x" * 5000}
    bad = archived(tmp_path / "bad.tar.zst", chosen, tarfile.PAX_FORMAT)
    with pytest.raises(BundleError, match="is not a plain file"):
        unpack(bad, tmp_path / "out")


def test_a_bomb_is_defused(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unbundle, "MEMBER_LIMIT", 100_000)
    document = json.loads(members(good)[0][1])
    document["members"][AGENT]["size"] = 1 << 29
    text = json.dumps(document).encode()
    first, agent = tarfile.TarInfo(MANIFEST), tarfile.TarInfo(AGENT)
    first.size, agent.size = len(text), 1 << 29
    content = first.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % 512)
    bad = packed(tmp_path / "bomb.tar.zst", content + agent.tobuf(tarfile.USTAR_FORMAT) + bytes(8 << 20))
    with pytest.raises(BundleError, match="more than 100000 bytes"):
        unpack(bad, tmp_path / "out")
    monkeypatch.setattr(unbundle, "MEMBER_LIMIT", 1 << 30)
    with pytest.raises(BundleError, match="is truncated"):
        unpack(bad, tmp_path / "out")


def test_a_window_larger_than_any_bundle_needs_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    sink = io.BytesIO()
    with compressor.stream_writer(sink, closefd=False) as stream:
        stream.write(bytes(1000))
    (tmp_path / "bad").write_bytes(sink.getvalue())
    with pytest.raises(BundleError, match="cannot be decompressed"):
        unpack(tmp_path / "bad", tmp_path / "out")


def test_files_that_are_no_bundles_are_reported(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"hello\n" * 100), ("tar", bytes(10240))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError):
            unpack(tmp_path / name, tmp_path / "out")
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        unpack(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        unpack(tmp_path, tmp_path / "out")


@pytest.mark.timeout(10)
def test_a_fifo_or_a_device_is_no_bundle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(BundleError, match="cannot be read: it is not a regular file"):
            unpack(path, tmp_path / "out")


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(data=st.data())
def test_damaged_archives_raise_nothing_else(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(plain(good))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    refused_or_same(packed(tmp_path / "fuzzed", bytes(content[:end])), tmp_path / "out")


@FUZZ
@given(data=st.data())
def test_damaged_compression_raises_nothing_else(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "fuzzed").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    refused_or_same(tmp_path / "fuzzed", tmp_path / "out")


def refused_or_same(file: Path, out: Path) -> None:
    try:
        bundle = unpack(file, out)
    except BundleError:
        assert not out.exists()
        return
    assert bundle.agent.read_bytes() == b"agent.pyz" * 1000
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    out.rmdir()
