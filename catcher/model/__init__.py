"""The nouns: frozen, typed, without I/O. Everything else speaks in these words."""
