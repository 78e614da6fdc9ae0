"""The mask cache: its writer, its reader, and what checks and shows it."""
