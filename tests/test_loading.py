import cv2
import numpy as np

from common.boxes import largest_component
from common.datasets import Record
from common.loading import consecutive, load_frames


def test_workers_start_after_opencv_was_at_work(tmp_path):
    assert cv2.getNumThreads() == 1  # threads of its own would hang a forked worker
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), 7, np.uint8))
    largest_component(np.ones((512, 512), bool))
    batches = load_frames([Record("one.png", path, 0)] * 3, (8, 8), consecutive(3, 2), workers=2)
    assert [batch.images.shape for batch in batches] == [(2, 3, 8, 8), (1, 3, 8, 8)]
