"""The paper's tables, the main table and the ablations."""
