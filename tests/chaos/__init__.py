"""The engine killed, starved and lied to; nothing is lost, nothing happens twice."""
