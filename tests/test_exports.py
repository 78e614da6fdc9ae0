"""Exports read back by readers that are not ours; boxes agree to the pixel."""

import csv
import dataclasses
import json
import os
import shutil
import unicodedata
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from common.boxes import mask_to_box
from common.exports.annotated_pictures import (AnnotatedObject, AnnotatedPicture, Annotations,
                                               ExportError)
from common.exports.formats import FORMATS, write_overlays
from common.exports.sources import open_annotations
from common.exports.yolo import write_yolo
from common.mask_cache.reader import MaskCache
from common.mask_cache.shards import MaskCacheError
from common.text import composed
from tests.examples import TINY, make_masks, run, write_inputs

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
SMALL = ["--set", "epochs=2", "--set", "width=8", "--set", "mask_width=8", "--set", "batch_size=4"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A mask cache, and the folder of localize, of pictures with two classes."""
    folder = tmp_path_factory.mktemp("exports")
    write_inputs(folder)
    masks = make_masks(folder)
    output = run("train-ct", "--data", folder / "cub", "--cache", folder / "cache", *TINY,
                 *SMALL).output
    run("localize", output.split("wrote ")[-1].strip(), folder / "cub" / "images", "--objects",
        "many", "--tau", "0.5", "--out", folder / "found", "--device", "cpu", "--workers", "0")
    return {"masks": masks, "found": folder / "found"}


@pytest.fixture(params=["masks", "found"])
def source(request, sources):
    return sources[request.param]


def export(source, name, out, *arguments):
    result = run("export", source, "--format", name, "--out", out, *arguments)
    assert result.exit_code == 0, result.output
    return out


def expected(source):
    """{image id: [(label, box, mask)]} of a source, as our own reader has it."""
    return {picture.image_id: [(each.label, each.box, each.mask) for each in picture.objects]
            for picture in open_annotations(source).read()}


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_coco_is_read_by_pycocotools(source, tmp_path, segmentation):
    read = coco.COCO(str(export(source, "coco", tmp_path / "coco.json", "--segmentation",
                                segmentation)))
    names = {each["id"]: each["name"] for each in read.loadCats(read.getCatIds())}
    wanted = expected(source)
    assert {each["file_name"] for each in read.loadImgs(read.getImgIds())} == set(wanted)
    assert sum(map(len, wanted.values())) == len(read.getAnnIds()) > 0
    for image in read.loadImgs(read.getImgIds()):
        found = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
        for each, (label, box, mask) in zip(found, wanted[image["file_name"]], strict=True):
            x, y, width, height = each["bbox"]
            assert (names[each["category_id"]], (x, y, x + width, y + height)) == (label, box)
            decoded = read.annToMask(each).astype(bool)
            assert tuple(mask_to_box(decoded).tolist()) == box
            if segmentation == "rle":
                assert np.array_equal(decoded, mask) and each["area"] == mask.sum()
            else:  # pycocotools fills polygons a little differently at their corners
                assert (decoded & mask).sum() / (decoded | mask).sum() > 0.9
            assert ("score" in each) == ("found" in str(source))


def test_voc_by_an_xml_parser_against_its_element_names(source, tmp_path):
    folder = export(source, "voc", tmp_path / "voc") / "Annotations"
    for image_id, objects in expected(source).items():
        root = ElementTree.parse(folder / image_id.replace(".jpg", ".xml")).getroot()
        assert root.tag == "annotation" and root.findtext("filename") == image_id.split("/")[-1]
        assert [root.findtext(f"size/{name}") for name in ("width", "height", "depth")] == [
            "64", "48", "3"]
        found = [(each.findtext("name"), tuple(
            int(each.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")))
            for each in root.iter("object")]
        assert found == [(label, (x0 + 1, y0 + 1, x1, y1))
                         for label, (x0, y0, x1, y1), _ in objects]


def test_yolo_by_its_own_rules(source, tmp_path):
    folder = export(source, "yolo", tmp_path / "yolo")
    data = (folder / "detect" / "data.yaml").read_text()
    assert '0: "001.Disc"' in data and '1: "002.Disc"' in data
    for image_id, objects in expected(source).items():
        assert (folder / "detect" / "images" / image_id).is_file()
        stem = image_id.replace(".jpg", ".txt")
        lines = (folder / "detect" / "labels" / stem).read_text().splitlines()
        for line, (label, box, _) in zip(lines, objects, strict=True):
            number, *values = line.split()
            x, y, width, height = np.array(values, float) * [64, 48, 64, 48]
            corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            assert np.abs(corners - box).max() < 1e-4 and int(number) == int(label[:3]) - 1
        lines = (folder / "segment" / "labels" / stem).read_text().splitlines()
        for line, (_, box, _) in zip(lines, objects, strict=True):
            points = np.array(line.split()[1:], float).reshape(-1, 2) * [64, 48]
            assert np.abs([*points.min(0), *points.max(0)] - np.array(box)).max() < 1e-4


def test_yolo_by_supervision(source, tmp_path):
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    folder = export(source, "yolo", tmp_path / "yolo") / "detect"
    flat = tmp_path / "flat"  # supervision looks into no subfolders
    for name, ending in (("images", ".jpg"), ("labels", ".txt")):
        (flat / name).mkdir(parents=True)
        for path in (folder / name / "001.Disc").iterdir():
            if path.suffix == ending:
                shutil.copy(path, flat / name)
    dataset = supervision.DetectionDataset.from_yolo(
        str(flat / "images"), str(flat / "labels"), str(folder / "data.yaml"))
    assert dataset.classes == ["001.Disc", "002.Disc"]
    wanted = {image_id.split("/")[-1]: objects for image_id, objects in expected(source).items()}
    for path, _, found in dataset:
        objects = wanted.get(path.split("/")[-1], [])
        assert len(found) == len(objects)
        for box, (_, ours, _) in zip(found.xyxy, objects):
            assert np.abs(box - ours).max() < 1e-3


@pytest.fixture
def oddly_named(tmp_path):
    """Annotations of pictures in a folder called images, decomposed and not in UTF-8."""
    names = ("images/plain.jpg", unicodedata.normalize("NFD", "B\u00e4r.jpg"),
             os.fsdecode(b"lat\xe9in.jpg"))
    mask = np.zeros((48, 64), bool)
    mask[8:40, 8:56] = True
    for name in names:
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            (tmp_path / "pictures" / name).write_bytes(cv2.imencode(".jpg", np.zeros(
                (48, 64, 3), np.uint8))[1].tobytes())
        except OSError:
            pytest.skip("the file system refuses names that are not UTF-8")
    objects = (AnnotatedObject("disc", (8, 8, 56, 40), mask, (48, 64)),)
    pictures = [AnnotatedPicture(composed(name), (48, 64), objects, "disc") for name in names]
    return of_pictures(Annotations(tmp_path / "pictures", ("disc",), (), None, "by hand"),
                       pictures), names


def of_pictures(annotations, pictures):
    """The same annotations of other pictures."""
    return dataclasses.replace(annotations, image_ids=[each.image_id for each in pictures],
                               read=lambda: iter(pictures))


def test_yolo_programs_find_a_label_for_each_picture(oddly_named, tmp_path):
    annotations, names = oddly_named
    for _ in range(2):  # again, over what is there
        write_yolo(tmp_path / "yolo", annotations)
    for task in ("detect", "segment"):
        images = (tmp_path / "yolo" / task / "images").resolve()  # as Ultralytics does
        found = [path for path in images.rglob("*") if path.is_file()]
        assert {path.resolve() for path in found} == {
            (annotations.root / name).resolve() for name in names}
        for path in found:
            label = "/labels/".join(str(path).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt"
            assert open(label).read().startswith("0 0.")


def test_yolo_labels_are_one_file_for_each_picture(oddly_named, tmp_path):
    annotations, _ = oddly_named
    first = next(annotations.read())
    pictures = [first, dataclasses.replace(first, image_id="images_/plain.jpg")]
    with pytest.raises(ExportError, match="'images/plain.jpg' and 'images_/plain.jpg' would be"):
        write_yolo(tmp_path / "yolo", of_pictures(annotations, pictures))
    assert not (tmp_path / "yolo").exists()


def test_a_yolo_export_replaces_an_earlier_one(oddly_named, tmp_path):
    annotations, _ = oddly_named
    write_yolo(tmp_path / "yolo", annotations)
    first = next(annotations.read())
    write_yolo(tmp_path / "yolo", of_pictures(annotations, [first]))
    for kind in ("images", "labels"):
        held = [path.stem for path in (tmp_path / "yolo/detect" / kind).rglob("*.*")]
        assert held == ["plain"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_names_files_as_they_are_on_the_disk(oddly_named, tmp_path, name):
    annotations, names = oddly_named
    wrote = FORMATS[name].write(tmp_path / "out", annotations)
    if name == "coco":
        held = [each["file_name"] for each in json.loads(wrote.read_text())["images"]]
        assert held == list(names)
    if name == "labelstudio":
        held = [unquote_to_bytes(each["data"]["image"].partition("?d=")[2])
                for each in json.loads(wrote.read_text())]
        assert held == [os.fsencode(each) for each in names]
    if name == "png":
        assert all((wrote / f"{each}.png").is_file() for each in names)


def test_overlays_show_every_picture(oddly_named, tmp_path):
    annotations, names = oddly_named
    assert len(list(write_overlays(tmp_path / "out", annotations).rglob("*.jpg"))) == len(names)


def test_the_largest_outline_comes_first():
    mask = np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    mask[0:10:2, 0:10] = mask[0:10, 0] = True  # a comb: small, with many corners
    outlines = AnnotatedObject("disc", (0, 0, 60, 60), mask, (80, 80)).polygons()
    assert len(outlines[0]) == 4 < len(outlines[1])


def test_what_does_not_apply_to_localized_pictures_is_refused(sources, tmp_path):
    for arguments, sentence in ((("--delta", "0.5"), "leave out --delta"),
                                (("--dataset", "cub"), "leave out --delta and --dataset"),
                                (("--data", tmp_path / "nowhere"), "there is no folder .*nowhere")):
        with pytest.raises(ExportError, match=sentence):
            run("export", sources["found"], "--format", "csv", "--out", tmp_path / "x.csv",
                *arguments)


def test_label_studios_interface_is_not_overwritten(source, tmp_path):
    (tmp_path / "tasks.xml").write_text("mine")
    refused = run("export", source, "--format", "labelstudio", "--out", tmp_path / "tasks.json")
    assert refused.exit_code == 2 and "tasks.xml is there already" in refused.output


def test_the_tasks_of_label_studio_are_not_replaced_by_their_interface(source, tmp_path):
    refused = run("export", source, "--format", "labelstudio", "--out", tmp_path / "tasks.xml",
                  "--overwrite")
    assert refused.exit_code == 2 and "another ending, such as .json" in refused.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, held", [("voc", "file"), ("csv", "folder")])
def test_a_file_is_not_written_over_a_folder_nor_a_folder_over_a_file(source, tmp_path, name, held):
    out = tmp_path / "out"
    out.mkdir() if held == "folder" else out.write_text("mine")
    refused = run("export", source, "--format", name, "--out", out, "--overwrite")
    assert refused.exit_code == 2 and f"{out} is a {held}" in refused.output
    assert list(tmp_path.iterdir()) == [out]


def test_a_coco_export_leaves_other_files_alone(source, tmp_path):
    (tmp_path / "coco.json.images").write_text("mine")
    export(source, "coco", tmp_path / "coco.json")
    assert (tmp_path / "coco.json.images").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_pictures_without_a_valid_mask_are_left_out_and_counted(tmp_path):
    write_inputs(tmp_path)
    folder = tmp_path / "cub" / "images"
    (folder / "001.Disc" / "10.jpg").write_bytes(b"no picture")
    make_masks(tmp_path, "--data", folder, "--recipe", "blurred", "--recipe-set",
               "smallest_area=0.05", "--on-bad-image", "skip")
    masks, = (tmp_path / "cache" / "masks").iterdir()
    (folder / "002.Disc" / "7.jpg").unlink()
    cache = MaskCache(masks)
    valid = {image_id for image_id in cache if cache.read(image_id)[1]}
    wanted = valid - {"002.Disc/7.jpg"}
    assert len(valid) > len(wanted) > 0 and len(cache) - len(valid) > 1
    result = run("export", masks, "--format", "coco", "--out", tmp_path / "coco.json")
    held = json.loads((tmp_path / "coco.json").read_text())
    assert {each["file_name"] for each in held["images"]} == wanted
    assert len(held["annotations"]) == len(wanted)
    count = len(cache)
    assert f"left out: 1 of {count} pictures, which are not in" in result.output
    assert f"left out: 1 of {count} pictures, which could not be read" in result.output
    assert (f"left out: {count - len(wanted) - 2} of {count} pictures, which have an invalid mask"
            in result.output)


def test_masks_of_which_none_is_valid_are_not_exported(tmp_path):
    write_inputs(tmp_path)
    with pytest.raises(MaskCacheError, match="not one of the .* is valid"):
        make_masks(tmp_path, "--recipe", "blurred", "--recipe-set", "smallest_area=0.9")
    masks, = (tmp_path / "cache" / "masks").iterdir()
    with pytest.raises(MaskCacheError, match="not one of the .* is valid"):
        open_annotations(masks)


def test_links_that_would_lead_nowhere_are_refused(sources, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match=r"are not in .*empty.*give their folder with --data"):
        run("export", sources["found"], "--format", "yolo", "--out", tmp_path / "yolo", "--data",
            tmp_path / "empty")
    assert not (tmp_path / "yolo").exists()


def test_png_masks_are_the_masks(source, tmp_path):
    folder = export(source, "png", tmp_path / "png")
    for image_id, objects in expected(source).items():
        read = cv2.imread(str(folder / f"{image_id}.png"), cv2.IMREAD_UNCHANGED)
        union = np.zeros((48, 64), bool)
        for _, _, mask in objects:
            union |= mask
        assert np.array_equal(read, np.where(union, 255, 0))


def test_csv_by_the_standard_library(source, tmp_path):
    with open(export(source, "csv", tmp_path / "objects.csv"), newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["x0"]]
    wanted = [(image_id, label, box) for image_id, objects in expected(source).items()
              for label, box, _ in objects]
    assert wanted == [(row["image_id"], row["label"], tuple(
        int(row[name]) for name in ("x0", "y0", "x1", "y1"))) for row in rows]


def test_label_studio_in_per_cent_of_the_picture(source, tmp_path):
    tasks = json.loads(export(source, "labelstudio", tmp_path / "tasks.json").read_text())
    interface = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    controls = {each.get("name"): {label.get("value") for label in each}
                for each in interface if each.tag.endswith("Labels")}
    assert controls == {"box": {"001.Disc", "002.Disc"}, "outline": {"001.Disc", "002.Disc"}}
    wanted = expected(source)
    assert [task["data"]["image_id"] for task in tasks] == list(wanted)
    for task in tasks:
        regions = [each for each in task["predictions"][0]["result"]
                   if each["type"] == "rectanglelabels"]
        for each, (label, box, _) in zip(regions, wanted[task["data"]["image_id"]], strict=True):
            value = each["value"]
            corners = np.array([value["x"], value["y"], value["x"] + value["width"],
                                value["y"] + value["height"]]) / 100 * [64, 48, 64, 48]
            assert np.abs(corners - box).max() < 1e-6 and value["rectanglelabels"] == [label]


def test_polygons_follow_the_edges_of_pixels():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    mask[5, 0] = True
    square, dot = sorted(AnnotatedObject("x", (0, 1, 7, 6), mask, (6, 8)).polygons(),
                         key=lambda outline: -outline[:, 0].max())
    assert set(map(tuple, square.tolist())) == {(2, 1), (7, 1), (7, 4), (2, 4)}
    assert set(map(tuple, dot.tolist())) == {(0, 5), (1, 5), (1, 6), (0, 6)}


def test_an_export_says_what_is_wrong(sources, tmp_path):
    with pytest.raises(ExportError, match="neither a mask cache nor a folder"):
        open_annotations(tmp_path)
    shutil.copytree(sources["masks"], tmp_path / "masks")
    shutil.copytree(sources["found"], tmp_path / "found")
    (tmp_path / "found" / "localized.json").write_text(
        (tmp_path / "found" / "localized.json").read_text().replace('"finished": true',
                                                                    '"finished": false'))
    with pytest.raises(ExportError, match="not finished"):
        open_annotations(tmp_path / "found")
    (tmp_path / "there.json").write_text("{}")
    result = run("export", sources["masks"], "--format", "coco", "--out", tmp_path / "there.json")
    assert result.exit_code == 2 and "--overwrite" in result.output


def test_two_pictures_that_differ_in_their_endings_are_refused_where_names_would_clash(
        sources, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a.jpg", "a.png"):
        cv2.imwrite(str(pictures / name), np.full((40, 40, 3), 90, np.uint8))
    trained = next((sources["found"].parent / "cache" / "ct").iterdir())
    localize = ("localize", trained, pictures, "--out", tmp_path / "out", "--device", "cpu",
                "--workers", "0")
    clash = "'a.jpg' and 'a.png' differ in their endings only"
    for name in ("voc", "yolo"):
        with pytest.raises(ExportError, match=clash):
            run(*localize, "--format", name)
        assert not (tmp_path / "out").exists()  # nothing was localized before
    run(*localize)
    with pytest.raises(ExportError, match=clash):
        run("export", tmp_path / "out", "--format", "voc", "--out", tmp_path / "voc")
    assert not (tmp_path / "voc").exists()
    assert len(list(export(tmp_path / "out", "png", tmp_path / "png").iterdir())) == 2
