"""What mingw-w64's driver kit lacks of Microsoft's: headers, import libraries, the names Windows exports."""
