"""The server's certificates as files: read and judged before anything uses them, and made by a CA of one's own."""
