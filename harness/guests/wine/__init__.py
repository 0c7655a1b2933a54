"""The Wine guest: what differs between it and the other flavours."""
