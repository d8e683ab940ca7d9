"""The SMTP front door: a client's bytes become submissions, refusals become SES's replies. It decides nothing else."""
