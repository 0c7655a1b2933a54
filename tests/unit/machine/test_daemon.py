"""URIs, names of domains, a daemon's configuration; tests/vm/test_hosts.py has real daemons and real SSH."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, HostError
from harness.machine import daemon
from harness.machine.connection import QEMU_CONF
from harness.machine.daemon import Claim, host_cpu, require_usable
from harness.machine.remote.ssh import Session, Target, runner, unasked

CAPABILITIES = """<capabilities><host><cpu><model>Skylake</model></cpu>
<secmodel><model>none</model></secmodel>
<secmodel><model>dac</model>
<baselabel type="kvm">{0}</baselabel><baselabel type="qemu">{0}</baselabel></secmodel>
</host></capabilities>"""


@pytest.mark.parametrize("uri", ["", "qemu:///system", "qemu+unix:///system", "test:///default"])
def test_a_daemon_of_this_host_needs_no_ssh(uri: str) -> None:
    assert Target.of(uri) is None
    assert unasked(uri) == uri


def test_ssh_goes_where_the_uri_says() -> None:
    uri = "qemu+ssh://me@vm.example:2222/system?keyfile=/k/id&command=/opt/ssh&no_verify=1"
    target = Target.of(uri)
    assert target == Target("vm.example", "me", 2222, "/k/id", "/opt/ssh", verify=False)
    argv = target.argv("-N")
    assert argv[0] == "/opt/ssh"
    assert argv[-3:] == ["-N", "--", "vm.example"]
    for pair in (["-p", "2222"], ["-l", "me"], ["-i", "/k/id"], ["-o", "StrictHostKeyChecking=no"]):
        assert argv[argv.index(pair[1]) - 1] == pair[0]


def test_ssh_chooses_what_the_uri_leaves_out() -> None:
    target = Target.of("qemu+ssh://alias/system")
    assert target == Target("alias")
    assert not {"-p", "-l", "-i", "StrictHostKeyChecking=no"} & set(target.argv())
    assert "BatchMode=yes" in target.argv()


def test_a_host_is_never_taken_for_an_option() -> None:
    target = Target.of("qemu+ssh://-oProxyCommand=x/system")
    assert target
    assert target.argv()[-2] == "--"


@pytest.mark.parametrize(
    "uri",
    ["qemu://host/system", "qemu+tls://host/system", "qemu+libssh2://host/system", "qemu+ssh:///system"],
)
def test_another_way_to_another_host_is_refused(uri: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Use qemu\+ssh://user@host/system"):
        Target.of(uri)


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no URI"):
        Target.of("qemu+ssh://host:seven/system")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu+ssh://h/system", "qemu+ssh://h/system?no_tty=1"),
        ("qemu+ssh://h/system?keyfile=k", "qemu+ssh://h/system?keyfile=k&no_tty=1"),
        ("qemu+ssh://h/system?no_tty=0", "qemu+ssh://h/system?no_tty=0"),
    ],
)
def test_libvirts_ssh_asks_nothing(uri: str, expected: str) -> None:
    assert unasked(uri) == expected


def client(folder: Path, script: str) -> Target:
    """An SSH client that does what the script says."""
    file = folder / "client"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return Target("far", command=str(file))


def test_a_host_that_ssh_does_not_reach_is_named_with_its_words(tmp_path: Path) -> None:
    target = client(tmp_path, "echo 'far: Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(HostError, match=r"does not reach far: far: Permission denied .*virsh -c URI list"):
        Session(target, tmp_path).open(Deadline.after(20))
    with pytest.raises(HostError, match="Permission denied"):
        runner(target)(["true"], 20)


def test_a_client_that_is_not_there_is_named(tmp_path: Path) -> None:
    target = Target("far", command=str(tmp_path / "none"))
    with pytest.raises(HostError, match="Install openssh-client"):
        Session(target, tmp_path).open(Deadline.after(20))


def test_a_session_ends_with_its_owner(tmp_path: Path) -> None:
    """Its input ends then; the far end, here `cat`, ends by that."""
    session = Session(client(tmp_path, "echo ready; exec cat >/dev/null"), tmp_path)
    assert session.open(Deadline.after(20))
    assert not session.open(Deadline.after(20)), "one that lives is kept"
    master = session._master
    assert isinstance(master, subprocess.Popen)
    assert master.stdin
    master.stdin.close()
    assert master.wait(timeout=20) == 0
    assert session.open(Deadline.after(20)), "one that was lost is replaced"
    session.close()
    session.close()


def test_a_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="Set WINVM_HOME to a shorter path"):
        Session(Target("far"), tmp_path / ("x" * 90))


def test_domains_of_runs_and_machines_differ_in_names_of_one_length(tmp_path: Path) -> None:
    one, other = Claim(uri="qemu:///system"), Claim(uri="qemu:///system")
    names = {claim.domain_name(machine) for claim in (one, other) for machine in ("guest", "second")}
    assert len(names) == 4
    assert {len(name) for name in names} == {23}
    assert Claim.of(tmp_path) is None
    one.save(tmp_path)
    assert Claim.of(tmp_path) == one
    (tmp_path / daemon.CLAIM).write_text('{"uri": "qemu:///system", "token": ""}')
    assert Claim.of(tmp_path) is None, "an empty token would be the prefix of everybody's names"


def test_a_daemon_with_the_benchs_configuration_is_usable() -> None:
    require_usable(CAPABILITIES.format("+0:+0"), QEMU_CONF, "it")
    require_usable(CAPABILITIES.format("+0:+0"), "", "one whose configuration cannot be read")
    require_usable("<capabilities><host/></capabilities>", QEMU_CONF, "one without the DAC driver")


@pytest.mark.parametrize(
    ("user", "conf", "words"),
    [
        ("+64055:+64055", QEMU_CONF, r"runs as user and group \+64055:\+64055"),
        ("+0:+0", '# stdio_handler = "file"\n', "virtlogd, which cuts it at 2 MiB"),
        ("+0:+0", 'stdio_handler = "logd"\n', "virtlogd"),
    ],
)
def test_a_daemon_that_would_spoil_runs_is_refused_with_the_lines_to_write(
    user: str, conf: str, words: str
) -> None:
    with pytest.raises(HostError, match=words) as caught:
        require_usable(CAPABILITIES.format(user), conf, "qemu:///system")
    assert 'user = "root"' in caught.value.remedy
    assert 'stdio_handler = "file"' in caught.value.remedy


def test_the_cpu_of_the_daemons_host_is_what_libvirt_says() -> None:
    assert "Skylake" in host_cpu(CAPABILITIES.format("+0:+0"))
    assert host_cpu("<capabilities/>") == ""
