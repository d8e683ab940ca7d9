"""Strangers' connections, whatever they will speak: how many, accepted how, whose handshake is next, who is told of."""
