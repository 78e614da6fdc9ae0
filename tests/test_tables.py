"""The paper's tables on a few small pictures: what is measured, quoted, kept and resumed."""

import csv

import pytest

from common.datasets import Record
from evaluation.table_files import Column, write_table
from pipelines.jobs.evaluating import RunLocalization
from pipelines.paper import measuring, printed, tables
from pipelines.paper.paper_tables import TABLE1, TABLE2, TABLE3
from pipelines.paper.tables import TableSetting
from stage1_bc.background_subsets import link_subset, nested_subsets
from tests.examples import TINY, run, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    write_inputs(folder)
    return folder


def fill(inputs, command, *arguments):
    """The command's output and the lines of its CSV file, by method and source."""
    result = run(command, "--data", inputs / "cub", "--background", inputs / "backgrounds",
                 "--cache", inputs / "cache", *TINY, "--bc-backbone", "tiny", "--set", "width=8",
                 "--set", "mask_width=8", "--set", "batch_size=4", "--epochs", "1", *arguments)
    with open(inputs / "cache/tables" / f"{command}.csv", newline="") as file:
        return result, {(line.get("method"), line.get("source")): line
                        for line in csv.DictReader(file)}


def test_measured_and_quoted_never_share_a_line(inputs):
    result, lines = fill(inputs, "table2", "--rows", "cam,bc-ct,bc-star")
    ours, theirs = lines["BC-CT", "measured"], lines["BC-CT", "quoted"]
    assert (theirs["top1_error"], theirs["top5_error"]) == ("51.21", "40.70")
    assert not any(theirs[name] for name in ("backbone", "gt_known", "run", "seeds", "tau_from"))
    assert ours["backbone"] == "tiny" and ours["tau_from"] == "masks" and ours["seeds"] == "0"
    assert (inputs / "cache/ct" / ours["run"] / "last.pt").is_file()
    masks = lines["BC* (masks, no class)", "measured"]
    assert masks["gt_known"] and not masks["top5_error"]
    missing = lines["HaS-32", "not measured"]
    assert missing["run"] == "`bcct table2 --rows has ...`" and not missing["gt_known"]
    assert "belongs to no single model" in result.output
    assert (inputs / "cache/tables/table2.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((inputs / "cache/ct").iterdir())) == 2


def test_backprop_and_spg_plain_use_the_classifier_of_cam(inputs):
    fill(inputs, "table2", "--rows", "cam")
    before = set((inputs / "cache/ct").iterdir())
    _, lines = fill(inputs, "table2", "--rows", "backprop,spg-plain")
    assert set((inputs / "cache/ct").iterdir()) == before
    cam, plain, backprop = (lines[name, "measured"] for name in (
        "GAP (CAM)", "SPG-plain", "Backprop"))
    assert {**plain, "method": ""} == {**cam, "method": ""}
    assert backprop["run"] == cam["run"] and backprop["top1_cls"] == cam["top1_cls"]


def test_three_variants_learn_from_the_same_masks(inputs):
    result, _ = fill(inputs, "table2", "--rows", "bc-ct,bc-ct-paper-loss,bc-ct-class-map")
    read = [line.split(": ")[1] for line in result.output.splitlines()
            if "learns from the 8 finished masks" in line]
    assert len(read) == 3 and len(set(read)) == 1
    assert "stage 1 took" in result.output
    assert len(list((inputs / "cache/masks").glob("cub-train-*"))) == 1


def test_a_finished_row_is_not_measured_again(inputs, monkeypatch):
    fill(inputs, "table2", "--rows", "cam")
    monkeypatch.setattr(measuring, "train", lambda planned: pytest.fail("trained again"))
    monkeypatch.setattr(RunLocalization, "localize", lambda *job: pytest.fail("evaluated again"))
    _, lines = fill(inputs, "table2", "--rows", "cam")
    assert ("GAP (CAM)", "measured") in lines
    checkpoint = inputs / "cache/ct" / lines["GAP (CAM)", "measured"]["run"] / "last.pt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content + b" ")  # another model: its figures are not known
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        fill(inputs, "table2", "--rows", "cam")
    checkpoint.write_bytes(content)
    boxes = inputs / "cub/bounding_boxes.txt"
    before = boxes.read_text()
    boxes.write_text(before.replace("1 ", "1 1", 1))  # another truth: the old figures are not of it
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        fill(inputs, "table2", "--rows", "cam")
    boxes.write_text(before)
    checkpoint.unlink()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        fill(inputs, "table2", "--rows", "cam")


def test_a_stopped_table_holds_what_was_finished_and_goes_on(inputs, monkeypatch):
    localize = RunLocalization.localize

    def stops(localization, trained):
        if trained.variant == "has":
            raise KeyboardInterrupt
        return localize(localization, trained)
    with monkeypatch.context() as patch:
        patch.setattr(RunLocalization, "localize", stops)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            result, _ = fill(inputs, "table1", "--rows", "cam,has", "--dataset", "cub")
            raise SystemExit(result.exit_code)  # click may turn the interrupt into an exit code
    text = (inputs / "cache/tables/table1.csv").read_text()
    assert "GAP (CAM),tiny," in text and "HaS-32,tiny,,,,,,,,,,,,,not measured" in text
    _, lines = fill(inputs, "table1", "--rows", "has", "--dataset", "cub")
    assert ("HaS-32", "measured") in lines and ("GAP (CAM)", "measured") in lines


def test_a_word_that_chooses_no_row_is_refused(inputs):
    result = run("table2", "--data", inputs / "cub", "--background", inputs / "backgrounds",
                 "--cache", inputs / "cache", *TINY, "--bc-backbone", "tiny", "--rows", "hass")
    assert result.exit_code != 0 and "no such row; known are" in result.output
    assert "give --data, or --shared" in run("table2").output


def test_the_deltas_of_table_3_come_from_one_pass(inputs, monkeypatch):
    made = []

    def makes(stage1, stored, split, deltas):
        made.append((split, deltas))
        return make_masks(stage1, stored, split, deltas)
    make_masks = tables.make_masks
    monkeypatch.setattr(tables, "make_masks", makes)
    _, lines = fill(inputs, "table3")
    assert made == [("train", [0.70, 0.75, 0.80, 0.85, 0.90])]
    runs = {line["run"] for (_, source), line in lines.items() if source == "measured"}
    assert len(runs) == 5
    assert lines["BC-CT, delta 0.85", "quoted"]["top5_error"] == "40.70"


def test_a_line_is_the_mean_of_the_finished_seeds(inputs, monkeypatch):
    fill(inputs, "table2", "--rows", "cam")  # its masks are needed to name the runs
    found = {0: {"top1_loc": 40.0, "gt_known": 60.0}, 2: {"top1_loc": 41.0, "gt_known": 63.0}}
    rest = {"top5_loc": 50.0, "max_box_acc_v2": 1.0, "top1_cls": 2.0, "top5_cls": 3.0,
            "run": "x", "oracle_gt_known": 4.0, "gt_known_low": 5.0, "gt_known_high": 6.0,
            "tau": 0.3}
    monkeypatch.setattr(measuring, "measured", lambda job: (
        {**found[job.seed], **rest} if job.seed in found else None))
    _, lines = fill(inputs, "table2", "--rows", "bc-star", "--seeds", "0,1,2")
    line = lines["ACoL", "measured"]
    assert (line["top1_error"], line["gt_known"], line["seeds"]) == ("59.50", "61.50", "0 2")


def test_the_rows_are_those_of_the_paper():
    names = [row.method for row in TABLE1.rows]
    assert names == [row.method for row in printed.TABLE1]
    assert {row.method for row in printed.TABLE2} - {row.method for row in TABLE2.rows} == {"BC*"}
    assert [row.method for row in TABLE3.rows] == [row.method for row in printed.TABLE3]
    chosen = [row for row in TABLE1.rows if "backprop-vgg16" in row.words]
    assert [row.method for row in chosen] == ["Backprop on VGGnet"]
    one = TableSetting({}, (0,), "squeezenet1_1").rows(TABLE1)
    assert [row.method for row in one] == ["Backprop", "GAP (CAM)", "HaS-32", "ACoL", "SPG-plain",
                                           "SPG", "BC-CT"]


def test_a_table_as_markdown_and_as_csv(tmp_path):
    columns = (Column("a", "A", 1), Column("b", "", 2), Column("c", "C"))
    write_table(tmp_path / "t", columns, [{"a": 1.25, "b": 2.0, "c": "x"}, {"c": "y,z"}], "T",
                ["note"])
    assert (tmp_path / "t.md").read_text() == (
        "# T\n\n| A | C |\n| --- | --- |\n| 1.2 | x |\n|  | y,z |\n\nnote\n")
    assert (tmp_path / "t.csv").read_text() == 'a,b,c\n1.2,2.00,x\n,,"y,z"\n'


def test_subsets_are_nested_seeded_and_never_the_whole():
    subsets = nested_subsets(range(30), (1, 5, 20, 100))
    assert [len(subset) for subset in subsets.values()] == [1, 5, 20]
    assert subsets[1][0] in subsets[5] and set(subsets[5]) < set(subsets[20])
    assert subsets == nested_subsets(range(30), (1, 5, 20))
    assert subsets[20] != nested_subsets(range(30), (20,), seed=1)[20]
    assert subsets[20] != list(range(20))


def test_a_single_background_is_linked_twice(tmp_path):
    for folder in ("sea", "forest"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").write_bytes(b"picture")
    record = Record("sea/x.jpg", tmp_path, -1)
    for _ in range(2):
        link_subset(tmp_path / "1", [record])
    links = sorted(path.relative_to(tmp_path / "1").as_posix()
                   for path in (tmp_path / "1").rglob("*.jpg"))
    assert links == ["sea/again-x.jpg", "sea/x.jpg"]
    assert (tmp_path / "1/sea/again-x.jpg").read_bytes() == b"picture"
    link_subset(tmp_path / "2", [record, Record("forest/x.jpg", tmp_path, -1)])
    assert len(list((tmp_path / "2").rglob("*.jpg"))) == 2


def test_fewer_backgrounds_give_a_line_each(inputs):
    result = run("ablate-backgrounds", "--data", inputs / "cub", "--background",
                 inputs / "backgrounds", "--cache", inputs / "cache", *TINY, "--bc-backbone",
                 "tiny", "--bc-set", "steps=50", "--masks-only")
    with open(inputs / "cache/tables/ablate-backgrounds.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["backgrounds"], line["judged"]) for line in lines] == [
        ("1", "7"), ("5", "3"), ("8", "1")]
    assert all(0 <= float(line["mask_strict"]) <= 100 for line in lines)
    assert not any(line["gt_known"] for line in lines) and "nested" in result.output
    assert (inputs / "cache/tables/ablate-backgrounds.png").stat().st_size > 1000
