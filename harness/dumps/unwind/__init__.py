"""True call stacks out of unwind data, of x64 and ARM64, from a dump's memory or over a kernel debugger."""
