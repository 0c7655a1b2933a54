"""The ReactOS guest: what differs between it and the other flavours."""
