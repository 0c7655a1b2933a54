"""Host side of the guest agent: its process, its lines, what it loads, and how it is handed over."""
