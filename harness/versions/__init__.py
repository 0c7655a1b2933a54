"""What differs between versions of a driver: the first bad commit, and two builds or commits compared."""
