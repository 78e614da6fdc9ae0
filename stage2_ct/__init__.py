"""Stage 2: a classification model trained under labels and masks."""
