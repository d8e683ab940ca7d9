"""The pages behind links in verification mails."""
