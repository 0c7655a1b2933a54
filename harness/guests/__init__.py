"""What differs between flavours of guest, one package for each flavour, and nothing else."""
