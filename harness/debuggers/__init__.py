"""Live debug output of the guest, read on the host from outside the guest."""
