"""The commands: each parses, loads, calls, saves."""
