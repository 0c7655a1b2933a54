"""KDCOM: the kernel-debugger protocol over a serial line."""
