"""Host side of the guest agent: its process, its protocol, driver load errors, and its hand-over."""
