"""Symbol paths, stores and a server on loopback; PDBs that do and do not match their images."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.commands.dump import dump
from harness.dumps.dumpfile import DumpFile
from harness.dumps.image import Image
from harness.dumps.pdb import PdbIdentity, is_pdb_of, read_identity
from harness.dumps.pe_file import image_memory
from harness.dumps.summary import Module, NoMemory
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbol_server import SymbolServer
from harness.dumps.symbols import symbolise
from tests.unit.dumps.test_symbols import SOURCE, build, crash_of


def identity_of(driver: Path) -> PdbIdentity:
    with DumpFile(driver) as file:
        found = Image(NoMemory(), 0, image_memory(file)).pdb()
    assert found
    return found


def module_of(driver: Path) -> Module:
    head = driver.read_bytes()[:1024]
    at = struct.unpack_from("<I", head, 0x3C)[0]
    stamp, size = struct.unpack_from("<I", head, at + 8)[0], struct.unpack_from("<I", head, at + 80)[0]
    return Module(driver.name, driver.name, 0x180000000, size, stamp)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    return build(tmp_path_factory.mktemp("built") / "one")


def test_guid_and_age_are_the_same_in_image_and_pdb(built: tuple[Path, int]) -> None:
    driver, _ = built
    identity = identity_of(driver)
    assert identity.name == "tiny.pdb"
    assert is_pdb_of(driver.with_suffix(".pdb"), identity)
    assert not is_pdb_of(driver, identity)
    assert not is_pdb_of(driver.with_suffix(".pdb"), PdbIdentity("tiny.pdb", bytes(16), identity.age))
    assert not is_pdb_of(driver.with_suffix(".pdb"), PdbIdentity("tiny.pdb", identity.guid, 99))


def test_a_pdb_of_another_build_is_not_used_and_named(built: tuple[Path, int], tmp_path: Path) -> None:
    driver, offset = built
    folder = tmp_path / "mixed"
    other, _ = build(tmp_path / "other", "int Filler(int x) { return x * 3; }\n" + SOURCE)
    folder.mkdir()
    shutil.copy(driver, folder)
    shutil.copy(other.with_suffix(".pdb"), folder)
    found = symbolise(crash_of(driver, offset, tmp_path), folder)
    assert found.fault
    assert found.fault.frames == ()
    assert "does not match its image" in found.warnings[-1]


def test_a_pdb_that_was_renamed_with_its_driver_is_used(built: tuple[Path, int], tmp_path: Path) -> None:
    """A prebuilt driver is loaded by the name of its service; its image still names the first PDB."""
    driver, _ = built
    folder = tmp_path / "renamed"
    folder.mkdir()
    renamed = folder / "service.pdb"
    renamed.write_bytes(driver.with_suffix(".pdb").read_bytes())
    (folder / "another.pdb").write_bytes(b"no PDB")
    assert SymbolPath("", folders=[folder]).pdb(identity_of(driver)) == renamed
    assert SymbolPath("", folders=[tmp_path]).pdb(identity_of(driver)) is None
    assert SymbolPath(str(folder)).pdb(identity_of(driver)) is None


def test_a_pdb_without_its_image_is_not_used_and_named(built: tuple[Path, int], tmp_path: Path) -> None:
    driver, offset = built
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(driver.with_suffix(".pdb"), folder)
    found = symbolise(crash_of(driver, offset, tmp_path), folder)
    assert found.fault
    assert found.fault.frames == ()
    assert "is not used: tiny.sys is neither in the dump" in found.warnings[-1]


@pytest.mark.parametrize("size", [0, 10, 40, 60, 5000, 20000])
def test_a_damaged_pdb_is_none(size: int, built: tuple[Path, int], tmp_path: Path) -> None:
    path = tmp_path / "tiny.pdb"
    path.write_bytes(built[0].with_suffix(".pdb").read_bytes()[:size])
    assert read_identity(path) is None


def stored(store: Path, driver: Path, *, tiers: int = 2) -> None:
    """Puts image and PDB into a store."""
    module = module_of(driver)
    for path, key in (
        (driver, f"{module.timestamp:08X}{module.size:x}"),
        (driver.with_suffix(".pdb"), identity_of(driver).key),
    ):
        front = store / path.name[:2] if tiers == 3 else store
        place = front / path.name / key
        place.mkdir(parents=True)
        shutil.copy(path, place)


@pytest.mark.parametrize("tiers", [2, 3])
@pytest.mark.parametrize(
    "form", ["srv*{}", "{}", "cache*{}", "symsrv*symsrv.dll*{}", "/nowhere;SRV*/none*{}", "/nowhere ;  {}  ;"]
)
def test_stores_of_both_layouts(form: str, tiers: int, built: tuple[Path, int], tmp_path: Path) -> None:
    driver, offset = built
    stored(tmp_path / "store", driver, tiers=tiers)
    path = SymbolPath(form.format(tmp_path / "store"))
    found = symbolise(crash_of(driver, offset, tmp_path), path)
    assert found.fault
    assert [frame.function for frame in found.fault.frames] == ["Poke", "Fault"]
    assert found.warnings == ()


class Server:
    """A symbol server on loopback; `asked` are the paths."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        self.answer = 0
        self.endless = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                file = root / self.path.lstrip("/")
                self.send_response(outer.answer or (200 if file.is_file() else 404))
                self.end_headers()
                if outer.endless:
                    for _ in range(1000):
                        self.wfile.write(bytes(4096))
                elif file.is_file():
                    self.wfile.write(file.read_bytes())

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}/symbols"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(built: tuple[Path, int], tmp_path: Path) -> Iterator[Server]:
    stored(tmp_path / "root" / "symbols", built[0])
    made = Server(tmp_path / "root")
    yield made
    made.close()


def test_a_server_is_asked_once_and_only_when_that_is_wanted(
    built: tuple[Path, int], server: Server, tmp_path: Path
) -> None:
    driver, offset = built
    summary = crash_of(driver, offset, tmp_path)
    text = f"srv*{tmp_path / 'cache'}*{server.address}"
    silent = symbolise(summary, SymbolPath(text)).fault
    assert silent
    assert (silent.frames, server.asked) == ((), [])
    for _ in range(2):
        found = symbolise(summary, SymbolPath(text, download=True))
        assert found.fault
        assert found.fault.frames[0].function == "Poke"
        assert len(server.asked) == 2  # the image, which says what its PDB is, and that
    assert {path.rpartition("/")[2] for path in server.asked} == {"tiny.sys", "tiny.pdb"}


def test_what_a_server_lacks_is_remembered_for_a_day(server: Server, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(3):
        warnings: list[str] = []
        assert SymbolServer(server.address, warnings).fetch("none.pdb", "123", cache) is None
        assert warnings == []
    assert len(server.asked) == 1
    mark = next(cache.rglob("*.absent"))
    long_ago = time.time() - 2 * 86400
    os.utime(mark, (long_ago, long_ago))
    SymbolServer(server.address, []).fetch("none.pdb", "123", cache)
    assert len(server.asked) == 2


def test_a_server_that_fails_is_said_once_and_not_asked_again(server: Server, tmp_path: Path) -> None:
    warnings: list[str] = []
    server.answer = 500
    broken = SymbolServer(server.address, warnings)
    assert [broken.fetch(name, "1", tmp_path) for name in ("a.pdb", "b.pdb")] == [None, None]
    assert len(server.asked) == len(warnings) == 1
    assert "answered HTTP status 500" in warnings[0]
    assert not list(tmp_path.rglob("*.absent"))
    nobody = SymbolServer("http://127.0.0.1:1", warnings)
    assert nobody.fetch("a.pdb", "1", tmp_path) is None
    assert "cannot be used" in warnings[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b[31mno HTTP\r\nat all" + b"A" * 5000,
        b"HTTP/1.1 200 \x1b[2J\r\nTransfer-Encoding: chunked\r\n\r\n\x1b]0;evil\x07zz\r\n",
        b"HTTP/1.1 302 x\r\nLocation: no\x1bscheme://" + b"A" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 302 x\r\nLocation: http://[::bad/\r\n\r\n",
    ],
    ids=["no status line", "bad chunk", "bad scheme", "bad address"],
)
def test_what_a_failing_server_sent_is_escaped_and_cut(answer: bytes, tmp_path: Path) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        warnings: list[str] = []
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert SymbolServer(address, warnings).fetch("a.pdb", "1", tmp_path) is None
        thread.join()
    (told,) = warnings
    assert told.startswith(f"The symbol server {address} cannot be used: ")
    assert len(told) < 300
    assert told.isprintable()


def test_folders_that_are_not_there_are_said_once(
    built: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_of(*built, tmp_path)
    names = ("/nowhere", f"{tmp_path}", "srv*/empty*http://127.0.0.1:1", "srv*/none", "/nowhere", "b\x1bad")
    monkeypatch.setenv("_NT_SYMBOL_PATH", ";".join(names))
    done = CliRunner().invoke(dump, [str(tmp_path / "made.dmp")])
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        f"winvm: {name}, which _NT_SYMBOL_PATH names, is no folder: it is passed over."
        for name in ("/nowhere", "/none", "b\\x1bad")
    ]


def test_an_answer_is_bounded_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    warnings: list[str] = []
    server.endless, server.answer = True, 200
    cache = tmp_path / "cache"
    assert SymbolServer(server.address, warnings, max_size=100_000).fetch("a.pdb", "1", cache) is None
    assert "larger than 100000 bytes" in warnings[0]
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../../x.pdb", "a/b.pdb", "..", "", "x\n.pdb", "a*b", "x" * 300])
def test_a_name_from_a_dump_stays_within_the_store(name: str, server: Server, tmp_path: Path) -> None:
    path = SymbolPath(f"srv*{tmp_path / 'cache'}*{server.address}", download=True)
    assert path.pdb(PdbIdentity(name, bytes(16), 1)) is None
    assert server.asked == []
    assert not (tmp_path / "cache").exists()


def test_the_command_asks_a_server_that_symbols_names(
    built: tuple[Path, int], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, offset = built
    crash_of(driver, offset, tmp_path)
    text = f"srv*{tmp_path / 'cache'}*{server.address}"
    monkeypatch.setenv("_NT_SYMBOL_PATH", text)
    run = CliRunner().invoke
    assert "Poke" not in run(dump, [str(tmp_path / "made.dmp")]).output
    assert server.asked == []
    assert "Poke" in run(dump, [str(tmp_path / "made.dmp"), "--download"]).output
    monkeypatch.delenv("_NT_SYMBOL_PATH")
    assert "Poke" in run(dump, [str(tmp_path / "made.dmp"), "--symbols", text]).output
    assert run(dump, [str(tmp_path / "made.dmp"), "--symbols", str(tmp_path / "absent")]).exit_code == 2


def test_the_image_is_not_needed_when_the_dump_names_its_pdb(built: tuple[Path, int], tmp_path: Path) -> None:
    driver, offset = built
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(driver.with_suffix(".pdb"), folder)
    summary = crash_of(driver, offset, tmp_path)
    known = tuple(dataclasses.replace(module, pdb=identity_of(driver)) for module in summary.modules)
    found = symbolise(dataclasses.replace(summary, modules=known), folder)
    assert found.fault
    assert found.fault.frames[0].function == "Poke"
    assert found.warnings == ()


@pytest.mark.timeout(30)
def test_a_fifo_and_a_name_that_no_file_system_takes_are_no_images(
    built: tuple[Path, int], tmp_path: Path
) -> None:
    module = module_of(built[0])
    os.mkfifo(tmp_path / module.name)
    path = SymbolPath("a" * 6000, folders=[tmp_path])
    assert path.file(module) is None


def test_a_closed_output_is_no_internal_error(built: tuple[Path, int]) -> None:
    command = [sys.executable, "-m", "harness", "dump", str(built[0])]
    done = subprocess.run(  # the shell closes the descriptor, as `>&-` does
        ["sh", "-c", f"{shlex.join(command)} >&-"], capture_output=True, text=True, check=False
    )
    assert "internal error" not in done.stderr
    assert done.returncode == 2, "a driver is no dump"
