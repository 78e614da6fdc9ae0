"""What both stages share: readers, boxes, backbones, configuration, the mask cache."""

import cv2

# OpenCV's own threads do not survive a fork, and data loaders fork: a worker process that touched
# what is left of them would wait for ever. Images are shared out over threads and processes as a
# whole instead.
cv2.setNumThreads(1)
