"""What differs between flavours of guest, one file each, and nothing else."""
