"""What both stages share: readers, boxes, backbones, configuration, the mask cache."""
