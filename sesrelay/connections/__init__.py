"""Strangers' connections, whatever they will speak: how they are accepted, and how those that misbehave are told of."""
