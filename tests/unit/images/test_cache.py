"""The image cache: an image is found by digest, built once, and either complete or absent."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.host.locks import hold
from harness.images import base, wine
from harness.images.base import BaseImage
from harness.images.inputs import gather
from harness.journal import Event, Journal
from tests.fakes.image_inputs import DISK, FakeBuild, copy_inputs


def entries(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "images").iterdir() if path.is_dir())


@pytest.fixture
def image(tmp_path: Path) -> BaseImage:
    return wine.ensure(tmp_path, Journal(), FakeBuild())


def test_an_image_is_built_once_and_then_found(tmp_path: Path) -> None:
    build = FakeBuild()
    first = wine.ensure(tmp_path, Journal(), build)
    second = wine.ensure(tmp_path, Journal(), build)
    assert build.calls == 1
    assert first == second
    assert entries(tmp_path) == [f"wine-{first.digest[:12]}"]
    assert wine.find(tmp_path) == first


@pytest.mark.parametrize(
    "changed",
    ["vm/wine/prefix.reg", "vm/wine/recipe.toml", "vm/wine/rootfs/etc/winvm/session", "vm/wine/initrd/init",
     "vm/wine/python-requirements.txt", "guest/winrmd/server.py", "guest/agent/standby.py",
     "guest/seriald/serial_link.py"],
)  # fmt: skip
def test_every_input_changes_the_digest(tmp_path: Path, changed: str) -> None:
    vm, guest = copy_inputs(tmp_path)
    before = gather(vm, guest)
    assert gather(vm, guest) == before
    path = tmp_path / changed
    path.write_bytes(path.read_bytes() + b"\n# changed\n")
    assert gather(vm, guest).digest != before.digest


def test_a_new_file_of_the_recipe_changes_the_digest(tmp_path: Path) -> None:
    vm, guest = copy_inputs(tmp_path)
    before = gather(vm, guest).digest
    (vm / "wine/rootfs/etc/motd").write_text("hello")
    assert gather(vm, guest).digest != before


def test_time_stamps_and_modes_do_not_change_the_digest(tmp_path: Path) -> None:
    vm, guest = copy_inputs(tmp_path)
    before = gather(vm, guest).digest
    for path in (*vm.rglob("*.reg"), *guest.rglob("*.py")):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert gather(vm, guest).digest == before


@pytest.mark.parametrize("error", [ImageError("mirror is down"), KeyboardInterrupt()])
def test_a_failed_build_leaves_nothing_but_its_log(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        wine.ensure(tmp_path, Journal(), FakeBuild(error))
    assert entries(tmp_path) == []
    assert wine.build_log(tmp_path).is_file()
    assert wine.find(tmp_path) is None


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "images" / ".build-dead" / "image"
    left.mkdir(parents=True)
    (left / "base.qcow2").write_bytes(DISK)
    image = wine.ensure(tmp_path, Journal(), FakeBuild())
    assert entries(tmp_path) == [image.folder.name]


def test_a_damaged_image_is_built_again(tmp_path: Path, image: BaseImage) -> None:
    image.kernel.unlink()
    build = FakeBuild()
    assert wine.ensure(tmp_path, Journal(), build).kernel.is_file()
    assert build.calls == 1


def test_a_second_process_waits_says_so_and_takes_the_first_ones_image(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    notes: list[str] = []
    waits = threading.Event()
    journal = Journal()

    def listen(event: Event) -> None:
        notes.append(str(event.get("text")))
        waits.set()

    journal.listen(listen)
    build, second = FakeBuild(), FakeBuild()
    found: list[BaseImage] = []
    with hold(images / ".lock", lambda: pytest.fail("nobody else has it")):
        other = threading.Thread(target=lambda: found.append(wine.ensure(tmp_path, journal, second)))
        other.start()
        assert waits.wait(10)
        first = wine._build_into_place(gather(), tmp_path, Journal(), build)
    other.join(10)
    assert found == [first]
    assert second.calls == 0
    assert "waiting" in notes[0]


def test_the_lock_dies_with_its_owner(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from harness.host.locks import hold\n"
        "with hold(Path(sys.argv[1]), print): print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    assert owner.stdout.readline() == "held\n"
    with lock.open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    began = time.monotonic()
    with hold(lock, lambda: None):
        assert time.monotonic() - began < 5


def test_secrets_are_fresh_private_and_readable_by_the_harness(tmp_path: Path, image: BaseImage) -> None:
    other = wine.ensure(tmp_path / "other", Journal(), FakeBuild())
    assert image.secrets.folder.stat().st_mode & 0o777 == 0o700
    files = sorted(image.secrets.folder.iterdir())
    assert [file.name for file in files] == [
        "certificate.pem", "client_ed25519", "client_ed25519.pub", "key.pem", "password",
        "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub",
    ]  # fmt: skip
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600, file
        assert file.read_bytes() != (other.secrets.folder / file.name).read_bytes(), file
    assert len(image.secrets.password) >= 32
    assert image.secrets.password not in repr(image) + repr(image.secrets)


def test_verify_sees_one_changed_byte(image: BaseImage) -> None:
    base.verify(image)
    changed = bytearray(DISK)
    changed[-1] ^= 1
    image.disk.write_bytes(changed)
    assert base.load(image.folder) == image  # the cheap check looks at sizes
    with pytest.raises(ImageError, match="was changed"):
        base.verify(image)


def test_load_sees_a_truncated_disk_and_a_missing_secret(image: BaseImage) -> None:
    image.disk.write_bytes(DISK[:-1])
    with pytest.raises(ImageError, match=f"{len(DISK) - 1} bytes"):
        base.load(image.folder)
    image.disk.write_bytes(DISK)
    image.secrets.client_key.unlink()
    with pytest.raises(ImageError, match="client_ed25519 is missing"):
        base.load(image.folder)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"digest": 1, "cmdline": "", "disk_size": "x"}', "\0"])
def test_load_refuses_a_manifest_of_another_kind(image: BaseImage, manifest: str) -> None:
    (image.folder / "manifest.json").write_text(manifest)
    with pytest.raises(ImageError, match="is not an image"):
        base.load(image.folder)


def test_list_images_leaves_out_damaged_ones(tmp_path: Path, image: BaseImage) -> None:
    (tmp_path / "images" / "wine-broken").mkdir()
    (tmp_path / "images" / "wine-broken" / "manifest.json").write_text("{}")
    assert base.list_images(tmp_path) == [image]
    assert base.list_images(tmp_path / "nowhere") == []
