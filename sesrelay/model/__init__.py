"""The nouns: frozen values that cross folders. Standard library only; nothing here acts.

Times are integers, microseconds since 1970 in UTC (``Micros``); durations name their unit.
"""
