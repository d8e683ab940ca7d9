"""Whether domains are their accounts': the DNS is asked, and what it says is handed to ``core.identities``."""
