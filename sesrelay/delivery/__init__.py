"""Handing mail to the next hop: from a claim to what the other server said about it."""
