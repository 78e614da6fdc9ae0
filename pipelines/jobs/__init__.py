"""What several commands share: finding or planning a classifier, masks or a run."""
