"""Judgments: values in, values out. No await, clock, chance, SQL or socket; time and chance are arguments."""
