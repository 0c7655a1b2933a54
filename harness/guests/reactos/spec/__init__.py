"""What a ReactOS guest is: its profile."""
