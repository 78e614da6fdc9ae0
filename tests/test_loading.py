import cv2
import numpy as np
import pytest

from common.boxes import largest_component
from common.datasets import Record
from common.loading import consecutive, default_workers, load_frames


def test_workers_start_after_opencv_was_at_work(tmp_path):
    assert cv2.getNumThreads() == 1  # threads of its own would hang a forked worker
    cv2.imwrite(str(tmp_path / "one.png"), np.full((8, 8, 3), 7, np.uint8))
    largest_component(np.ones((512, 512), bool))
    records = [Record("one.png", tmp_path, 0)] * 3
    batches = load_frames(records, (8, 8), consecutive(3, 2), workers=2)
    assert [batch.images.shape for batch in batches] == [(2, 3, 8, 8), (1, 3, 8, 8)]


@pytest.mark.parametrize("device, cores, here, workers", [
    ("cuda", 64, 1, 16), ("cuda", 64, 8, 8), ("cuda", 2, 8, 1), ("cpu", 8, 1, 2), ("cpu", 2, 1, 1),
    ("cpu", 2, 2, 0)])
def test_processes_of_one_machine_share_its_cores(monkeypatch, device, cores, here, workers):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    assert default_workers(device) == workers
