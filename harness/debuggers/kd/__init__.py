"""The kernel-debugger protocol of Windows, host side: packets, state, break-in, bugchecks."""
