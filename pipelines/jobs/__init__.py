"""What several commands plan alike: which classifier, which masks, which run."""
