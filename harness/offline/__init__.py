"""What can be read and changed on the disk of a guest that is powered off: no mount, nothing of it executed.

    with OfflineDisk(overlay) as disk:                 disk.py        qcow2 chain -> one file per partition
        windows = find_windows(disk.volumes)           windows.py     the volume that Windows lives on
        windows.copy_out("Windows/MEMORY.DMP", file)   ntfs.py        through the ntfs-3g tools
    disable_driver(overlay, "mydriver")                rescue.py      by the offline SYSTEM hive (hive.py)

The disk was written by a guest and is hostile: sizes are capped, names are compared and never used as host
paths, every tool runs against a deadline.
"""
