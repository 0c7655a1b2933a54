"""What a kernel's own structures tell of a crash: IRPs, pool blocks, debug output, threads."""
