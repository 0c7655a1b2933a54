"""How the C files of guest images are compiled for Windows: freestanding, without a run-time library."""

from __future__ import annotations

CLANG, LINK = "clang-19", "lld-link-19"
COMPILE = (
    *("--target=x86_64-w64-windows-gnu", "-std=c11", "-O2", "-ffreestanding"),
    *("-fno-stack-protector", "-mno-stack-arg-probe", "-Wall", "-Wextra", "-Werror"),
)
"""Options of clang."""
UNAIDED = ("/machine:x64", "/nodefaultlib", "/Brepro")
"""Options of lld-link: nothing is linked but what is named, and the same inputs give the same bytes."""
