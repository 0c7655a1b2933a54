"""Machines on a libvirt host of another name: SSH, tunnels, its clock."""
