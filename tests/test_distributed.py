"""Real runs of several processes, through gloo on this machine."""

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import fault_injection as faults
from common import processes
from common.mask_cache.manifest import MANIFEST
from common.mask_cache.reader import MaskCache
from pipelines import train_bc
from pipelines.__main__ import cli
from pipelines.jobs.evaluating import record_tau
from stage1_bc.classifier_file import StoredClassifier
from stage2_ct.bc_ct import BackgroundSupervised
from stage2_ct.data import EpochBatches, TrainingImages, training_loader
from stage2_ct.mask_sources import CachedMasks
from stage2_ct.run import Run
from stage2_ct.training_config import TrainingConfig
from stage2_ct.training_loop import fit
from tests.networks import small_backbone
from tests.test_pipeline import write_cub

CONFIG = TrainingConfig(precision="float32", epochs=2, batch_size=6, decay_every=1,
                        image_size=16, width=8, mask_width=8, backbone_rate=0.01, head_rate=0.05)


def test_masks_from_two_ranks_are_those_from_one(whole, pictures, tmp_path):
    children = faults.start_ranks(2, tmp_path, pictures, tmp_path / "cache")
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert faults.shards(tmp_path / "cache") == faults.shards(whole)
    assert (tmp_path / "cache" / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()


@pytest.mark.parametrize("dying", [0, 1])
def test_a_rank_that_dies_ends_the_other_with_a_clear_message(whole, pictures, tmp_path, dying):
    children = faults.start_ranks(2, tmp_path, pictures, tmp_path / "cache", dying, dies_at=7)
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == ([-9, 1] if dying == 0 else [1, -9])
    sentence = (tmp_path / str(1 - dying)).read_text()
    assert f"process {1 - dying} of 2: another process of this run has ended" in sentence
    assert "run the same command again" in sentence
    finished = faults.finished_shards(tmp_path / "cache")
    assert finished and not (tmp_path / "cache" / MANIFEST).exists()
    faults.make_tiny_masks(pictures, tmp_path / "cache")
    assert finished.items() < faults.finished_shards(tmp_path / "cache").items()
    assert faults.shards(tmp_path / "cache") == faults.shards(whole)


def test_kills_in_any_rank_leave_the_bytes_of_a_run_never_stopped(whole, pictures, tmp_path):
    folder, random = tmp_path / "cache", np.random.default_rng(2)
    faults.kill_and_resume(lambda: faults.start_ranks(2, tmp_path, pictures, folder), folder,
                           random, most=3)
    assert faults.shards(folder) == faults.shards(whole)


# CT


def train(rank, world, port, pictures, masks, folder):
    """One process of a CT run."""
    torch.set_num_threads(1)
    os.environ.update(faults.torchrun_environment(rank, world, port))
    records = [dataclasses.replace(record, label=number % 2) for number, record in enumerate(
        faults.records_in(pictures)) if record.image_id != "007.png"][:24]
    with processes.process_group():
        torch.manual_seed(0)
        method = BackgroundSupervised(small_backbone(), 2, CONFIG)
        batches = EpochBatches(len(records), CONFIG.batch_size, 0, rank, world)
        images = TrainingImages(records, CONFIG, MaskCache(masks))
        fit(method, CachedMasks(), training_loader(images, batches, 0, "cpu"), CONFIG,
            Run(folder), "cpu", {})


def test_training_by_two_ranks_follows_training_by_one(whole, pictures, tmp_path):
    port = faults.free_port()
    children = [faults.start_child(rank, world, port, pictures, whole, tmp_path / str(world),
                                   target=train) for world in (1, 2) for rank in range(world)]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0, 0]
    alone, together = (torch.load(tmp_path / str(world) / "last.pt", weights_only=True)
                       for world in (1, 2))
    start = BackgroundSupervised(_seeded_backbone(), 2, CONFIG).state_dict()
    for name, expected in alone["method"].items():
        assert torch.allclose(together["method"][name], expected, rtol=1e-4, atol=1e-6), name
        assert not torch.allclose(start[name], expected, rtol=1e-4, atol=1e-6), name
    logs = [[json.loads(line) for line in (tmp_path / str(world) / "log.jsonl").open()]
            for world in (1, 2)]
    for one, two in zip(*logs, strict=True):
        assert two["mask"] == pytest.approx(one["mask"], rel=1e-4)
        assert two["classification"] == pytest.approx(one["classification"], rel=1e-4)


def _seeded_backbone():
    torch.manual_seed(0)
    return small_backbone()


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_together_draw_the_batches_of_one_process(world):
    def draws(*place):
        batches = EpochBatches(13, 4, 0, *place)
        batches.epoch = 3
        return list(batches)
    alone, parts = draws(), [draws(rank, world) for rank in range(world)]
    for number, batch in enumerate(alone):
        together = [part[number] for part in parts]
        assert len({len(part) for part in together}) == 1 and all(together)
        assert set(sum(together, [])) == set(batch)


# The command line


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folder and options of a small data set whose masks torchrun makes."""
    folder = tmp_path_factory.mktemp("inputs")
    write_cub(folder / "cub", np.random.default_rng(0))
    faults.write_tiny_pictures(folder / "backgrounds")
    (folder / "backgrounds" / "007.png").unlink()
    options = ["--data", str(folder / "cub"), "--background", str(folder / "backgrounds"),
               "--backbone", "tiny", "--weights", "none", "--image-size", "32", "--workers", "0",
               "--cache", str(folder / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "pipelines", "masks", *options], capture_output=True, text=True, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, check=False)
    return folder, options, done


def test_masks_under_torchrun(inputs):
    folder, _, done = inputs
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1 and done.stdout.count("training it") == 1
    assert len(MaskCache(next((folder / "cache" / "masks").iterdir()))) == 8


def run_command(rank, port, arguments, ranks=2):
    """One of the processes that run a command, as torchrun would start it."""
    os.environ.update(faults.torchrun_environment(rank, ranks, port), CUDA_VISIBLE_DEVICES="")
    cli(arguments, standalone_mode=False)


def test_train_ct_in_two_processes(inputs):
    folder, options, _ = inputs
    arguments = ["train-ct", *options, "--set", "epochs=1", "--set", "width=8", "--set",
                 "mask_width=8", "--set", "batch_size=4"]
    port = faults.free_port()
    children = [faults.start_child(rank, port, arguments, target=run_command) for rank in range(2)]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    run, = (folder / "cache" / "ct").glob("bc-ct-s0-*")
    assert (run / "last.pt").is_file() and len((run / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("ranks", [1, 2])
def test_two_runs_of_train_ct_take_turns(inputs, ranks):
    folder, options, _ = inputs
    arguments = ["train-ct", *options, "--resume", "--seed", str(ranks), "--set", "epochs=2",
                 "--set", "width=8", "--set", "batch_size=4"]
    children = []
    for _ in range(2):
        port = faults.free_port()
        children += [faults.start_child(rank, port, arguments, ranks, target=run_command)
                     for rank in range(ranks)]
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * len(children)
    run, = (folder / "cache" / "ct").glob(f"bc-ct-s{ranks}-*")
    lines = (run / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert not list(run.glob("*.tmp"))


def _is_free(folder):
    """Exit with 0 where no other process holds the folder."""
    with open(folder / ".lock", "ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(1)


def test_tau_is_recorded_while_no_other_process_holds_the_run(tmp_path, monkeypatch):
    held, run = [], Run(tmp_path)
    monkeypatch.setattr(Run, "manifest", lambda run: {})

    def write_manifest(run, manifest):
        child = faults.start_child(run.folder, target=_is_free)
        child.join(60)
        held.append((manifest["localization"]["tau"], child.exitcode))
    monkeypatch.setattr(Run, "write_manifest", write_manifest)
    localization = SimpleNamespace(protocol=SimpleNamespace(tau_from="masks", box_rule="largest"),
                                   facts=lambda trained: {})
    record_tau(SimpleNamespace(run=run, variant="bc-ct"),
               SimpleNamespace(tau=0.2, source="masks", note=""), localization)
    assert held == [(0.2, 1)]


def test_train_bc_holds_the_folder_of_classifiers(inputs, monkeypatch):
    _, options, _ = inputs
    held = []

    def train_and_save(job):
        child = faults.start_child(job.cache / "bc", target=_is_free)
        child.join(60)
        held.append(child.exitcode)
        return StoredClassifier(job.cache, {"about": {
            "unreadable": {}, "target_accuracy": 1, "held_back_targets": 1,
            "background_accuracy": 1, "held_back_backgrounds": 1}})
    monkeypatch.setattr(train_bc, "train_and_save", train_and_save)
    cli(["train-bc", *options], standalone_mode=False)
    assert held == [1]


def test_a_lost_process_says_what_the_command_can_do(monkeypatch):
    def lost(*arguments, **options):
        raise RuntimeError("Connection closed by peer")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes.distributed, "init_process_group", lost)
    for again, sentence in (((), "again .Conn"), (("again, with --resume",), "--resume .Conn")):
        with pytest.raises(processes.LostProcess, match=f"finished is kept: .*{sentence}"):
            with processes.process_group(*again):
                pass
