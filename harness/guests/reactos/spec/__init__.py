"""What a ReactOS guest is: its profile, and its machine."""
