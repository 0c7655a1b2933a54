"""Stubs in a Wine builtin are recognized by their code, on a PE that is built the same way."""

import subprocess
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.toolchain.wine_exports import wine_exports

# The shape of winebuild's thunk for a `stub` entry, a routine that only looks like one, and an ordinary one.
ASSEMBLY = """
.globl Stubbed, Lookalike, Real, __wine_spec_unimplemented_stub
Stubbed:
    subq $0x28, %rsp
    leaq module(%rip), %rcx
    leaq stubbed_name(%rip), %rdx
    call __wine_spec_unimplemented_stub
Lookalike:
    subq $0x28, %rsp
    leaq module(%rip), %rcx
    leaq module(%rip), %rdx
    call __wine_spec_unimplemented_stub
Real:
    xorl %eax, %eax
    ret
__wine_spec_unimplemented_stub:
    int3
.data
module: .asciz "ntoskrnl.exe"
stubbed_name: .asciz "Stubbed"
"""


def test_stubs_are_distinguished_from_routines(tmp_path: Path) -> None:
    (tmp_path / "thunks.s").write_text(ASSEMBLY)
    subprocess.run(
        ["clang-19", "--target=x86_64-w64-windows-gnu", "-c", "thunks.s", "-o", "thunks.o"],
        cwd=tmp_path,
        check=True,
    )
    exports = [f"/export:{name}" for name in ("Stubbed", "Lookalike", "Real")]
    subprocess.run(
        ["lld-link-19", "/dll", "/noentry", "/nodefaultlib", *exports, "/out:ntoskrnl.exe", "thunks.o"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert wine_exports(tmp_path / "ntoskrnl.exe") == {
        "implemented": ["Lookalike", "Real"],
        "stubs": ["Stubbed"],
    }


@pytest.mark.parametrize("data", [b"", b"MZ nothing more"])
def test_what_is_no_pe_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ntoskrnl.exe"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"ntoskrnl\.exe has no readable export table"):
        wine_exports(path)
