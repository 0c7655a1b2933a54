"""Which lines of the driver a run executed: counters from the guest, profiles, reports."""
