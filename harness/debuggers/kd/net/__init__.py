"""KDNET: the kernel-debugger protocol over encrypted UDP datagrams."""
