"""The matrix of winvm.toml's `[nightly]`, run in parallel and compared with the night before.

    cells = matrix(config)            cells.py      profiles x driver builds x Driver Verifier
    with Capacity(...).take(need)     capacity.py   which host has the memory and the cores for a guest now
    night.run(cells)                  night.py      one process per cell through pytest-xdist; the verdict

A cell runs in a process of its own (`winvm run`): a process has one libvirt root, and a cell that breaks
takes nothing with it.
"""
