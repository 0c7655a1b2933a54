"""Reads and changes the disk of a guest that is powered off: no mount, and nothing on it is executed.

    with OfflineDisk(overlay) as disk:                 disk.py        qcow2 chain -> one file per partition
        windows = find_windows(disk.volumes)           windows.py     the volume that Windows lives on
        windows.copy_out("Windows/MEMORY.DMP", file)   ntfs.py        through the ntfs-3g tools
    disable_driver(overlay, "mydriver")                rescue.py      in the offline SYSTEM hive (hive.py)

The disk was written by a guest and is hostile: sizes are capped, names are compared and never used as host
paths, every tool runs against a deadline.
"""
