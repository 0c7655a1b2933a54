"""A small typed layer over Win32 and the native I/O calls. Importing it loads no DLL."""
