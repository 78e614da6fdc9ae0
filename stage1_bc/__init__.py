"""Stage 1: a background classifier, its gradient maps, and the masks cut from them."""
