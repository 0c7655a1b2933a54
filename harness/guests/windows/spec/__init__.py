"""What a Windows guest is: its profile, and the machine that follows from it."""
