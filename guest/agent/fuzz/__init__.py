"""The fuzzer's loop in the guest: makes cases, journals and issues them, keeps those that reach new code."""
