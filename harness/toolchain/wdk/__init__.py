"""What mingw-w64's driver kit lacks: headers, import libraries, the names that Windows exports."""
