"""Machines on another libvirt host: SSH, tunnels, the guest's clock."""
