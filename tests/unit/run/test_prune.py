"""What `winvm prune` and the end of a run remove, and what they never do."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.image.sealed import lock_file, seal
from harness.guests.windows.image.stages import Stages
from harness.host.locks import hold
from harness.run.artifacts import Artifacts
from harness.run.prune import Item, inventory, mark_used, old, qemu_has_open, remove, superseded

DAY = 86400.0
NOW = 1000 * DAY
PLACE = Path("/images")


def item(name: str, days: float, size: int = 10, kept: str = "", kind: str = "image") -> Item:
    return Item(kind, PLACE, PLACE / name, size, NOW - days * DAY, kept)


def names(items: list[Item]) -> list[str]:
    return [found.path.name for found in items]


def test_what_is_old_goes_unless_it_is_kept() -> None:
    items = [item("old", 20), item("used", 30, kept="a machine runs from it"), item("new", 1)]
    assert names(old(items, 14, None, NOW)) == ["old"]


def test_a_size_takes_the_oldest_first() -> None:
    items = [item("c", 1), item("a", 3), item("b", 2), item("kept", 9, size=50, kept="the present image")]
    assert names(old(items, 14, 65, NOW)) == ["a", "b"]


def test_a_run_leaves_three_images_beside_its_own_and_none_older_than_two_weeks() -> None:
    items = [item(str(days), days) for days in (1, 2, 3, 4)] + [item("0", 0, kept="the present image")]
    assert names(superseded(items, NOW)) == ["4"]
    assert names(superseded([item("15", 15)], NOW)) == ["15"]


def test_a_run_leaves_the_artifacts_of_others_alone_but_few_smoke_runs() -> None:
    assert superseded([item("run", 400, kind="artifacts")], NOW) == []
    smoke = [item(f"{number:02d}", number / 100, kind="smoke artifacts") for number in range(25)]
    assert names(superseded(smoke, NOW)) == ["20", "21", "22", "23", "24"]


def test_a_run_that_is_not_over_and_the_newest_one_stay(tmp_path: Path) -> None:
    runs = [Artifacts(tmp_path / "artifacts") for _ in range(3)]
    runs[0].finish("wine", 0.0)
    runs[2].finish("wine", 0.0)
    kept = {found.path.name: found.kept for found in inventory(tmp_path, tmp_path / "artifacts")}
    assert kept == {
        runs[0].run_id: "",
        runs[1].run_id: "its run has not ended",
        runs[2].run_id: "the newest run",
    }
    prunable = [found for found in inventory(tmp_path, tmp_path / "artifacts") if not found.kept]
    gone = remove(prunable, tmp_path)
    assert [found.path for found in gone] == [runs[0].path]
    assert not runs[0].path.exists()
    # Asked for all the same, e.g. by a list made before the run began.
    assert remove([Item("artifacts", tmp_path, runs[1].path, 1, 0.0)], tmp_path) == []
    runs[1].journal.close()


def test_an_image_that_a_run_has_chosen_is_the_newest_again(tmp_path: Path) -> None:
    folders = [tmp_path / "images" / f"wine-{days}" for days in (1, 2, 3, 4)]
    for days, folder in enumerate(folders, 1):
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        os.utime(folder, (NOW - days * DAY, NOW - days * DAY))
    assert names(superseded(inventory(tmp_path, None), NOW)) == ["wine-4"]
    mark_used(folders[3])
    assert names(superseded(inventory(tmp_path, None), NOW)) == ["wine-3"]


def windows_image(home: Path, profile: str, digest: str, days: float) -> Path:
    draft = home / "draft"
    secrets = WindowsSecrets(draft / "secrets")
    secrets.folder.mkdir(parents=True)
    for file in (secrets.certificate, secrets.password_file, secrets.host_key, secrets.client_key):
        file.touch()
    (draft / "base.qcow2").write_bytes(b"QFI\xfb")
    about = {"profile": profile, "settings": "", "edition": "", "firmware": "bios", "runs_out": ""}
    place = home / "images" / f"windows-{profile}-{digest}"
    place.parent.mkdir(exist_ok=True)
    seal(draft, place, {"digest": digest, "versions": {}, **about})
    for path in (place / "manifest.json", place):
        os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return place


def test_the_newest_image_of_each_windows_stays_however_old_it_is(tmp_path: Path) -> None:
    newest = [
        windows_image(tmp_path, "windows-10", "a", 100),
        windows_image(tmp_path, "windows-11", "b", 200),
    ]
    older = [windows_image(tmp_path, "windows-11", "c", 201)]
    found = inventory(tmp_path, None)
    assert {item.path: item.kept for item in found} == {
        **dict.fromkeys(newest, "the present image"),
        older[0]: "",
    }
    assert [item.path for item in superseded(found, NOW)] == older


def test_what_a_killed_installation_left_goes_at_once_but_none_that_is_under_way(tmp_path: Path) -> None:
    images = tmp_path / "images"
    left, under_way = images / ".install-windows-10-abc12345", images / ".install-windows-11-abc12345"
    for folder in (left, under_way):
        folder.mkdir(parents=True)
        (folder / "configuration.iso").write_bytes(b"secret")
    with hold(images / ".lock-windows-11", lambda: None):
        found = inventory(tmp_path, None)
        assert {item.path: item.kept for item in found} == {left: "", under_way: "it is being built"}
        assert [item.path for item in superseded(found, NOW)] == [left]
        everything = [Item(item.kind, item.group, item.path, item.size, item.time) for item in found]
        assert [item.path for item in remove(everything, tmp_path)] == [left]
    assert (left.exists(), under_way.exists()) == (False, True)
    assert [item.path for item in remove(inventory(tmp_path, None), tmp_path)] == [under_way]


def test_what_a_run_folder_refers_to_stays(tmp_path: Path) -> None:
    image = tmp_path / "images" / "wine-1"
    image.mkdir(parents=True)
    record = tmp_path / "runs" / "r" / "guest" / "machine.json"
    record.parent.mkdir(parents=True)
    record.write_text(f'{{"spec": {{"image": "{image}"}}, "ready": null}}')
    doomed = [Item("image", image.parent, image, 1, 0.0)]
    assert remove(doomed, tmp_path) == []
    record.unlink()
    assert remove(doomed, tmp_path) == doomed
    assert list(image.parent.glob("[!.]*")) == []


def test_nothing_but_artifacts_goes_while_an_image_is_built(tmp_path: Path) -> None:
    image = tmp_path / "images" / "wine-1"
    image.mkdir(parents=True)
    with (tmp_path / "images" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove([Item("image", image.parent, image, 1, 0.0)], tmp_path) == []
    assert image.exists()


def test_qemus_lock_on_an_image_is_seen(tmp_path: Path) -> None:
    disk = tmp_path / "base.qcow2"
    disk.write_bytes(b"QFI\xfb")
    assert not qemu_has_open(disk)
    with disk.open("rb") as held:  # as QEMU locks a backing file: shared, one byte
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
        assert qemu_has_open(disk)
    assert not qemu_has_open(disk)


def test_the_stages_of_an_installation_go_when_they_are_old_and_none_that_is_built(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for profile in ("windows-10", "windows-11"):
        stages = Stages.of(images, profile)
        images.mkdir(exist_ok=True)
        stages.begin()
        os.utime(stages.folder, (NOW - 20 * DAY, NOW - 20 * DAY))
    with hold(lock_file(images, "windows-11"), lambda: None):
        found = inventory(tmp_path, None)
        assert names(superseded(found, NOW)) == [".stage-windows-10"]
    assert names(superseded(inventory(tmp_path, None), NOW - 10 * DAY)) == []
