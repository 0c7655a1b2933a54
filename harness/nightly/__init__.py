"""The matrix of winvm.toml's `[nightly]`, run in parallel and compared with the night before.

    cells = matrix(config)            cells.py      profiles x driver builds x Driver Verifier
    with Capacity(...).take(need)     capacity.py   which host has the memory and the cores for a guest now
    night.run(cells)                  night.py      one process per cell through pytest-xdist; exit code

A cell runs in a process of its own (`winvm run`): a process has one libvirt root, and a cell that fails
does not affect the others.
"""
