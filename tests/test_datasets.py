"""Readers: small folders written by hand, and the real birds where they are at hand."""

import dataclasses
import hashlib
import os
import pickle
from pathlib import Path

import pytest

from common.datasets import Dataset, DatasetError, Record, open_backgrounds, open_dataset

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}")


def write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def ids(dataset):
    return [record.image_id for record in dataset.records]


def refusal(*arguments, opener=open_dataset):
    """The one line that a folder is refused with."""
    with pytest.raises(DatasetError) as caught:
        opener(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# CUB-200-2011


@pytest.fixture
def cub(tmp_path):
    """Two classes with ids 3 and 10, three images with ids that are no counts, no image files."""
    root = tmp_path / "cub"
    (root / "images").mkdir(parents=True)
    write(root / "classes.txt", "10 010.Wren\n3 003.Sooty Albatross\n")
    write(root / "images.txt", "7 010.Wren/b.jpg\n2 003.Sooty Albatross/a 1.jpg\n"
                               "5 003.Sooty Albatross/c.jpg\n")
    write(root / "image_class_labels.txt", "2 3\n5 3\n7 10\n")
    write(root / "train_test_split.txt", "2 1\n5 0\n7 1\n")
    write(root / "bounding_boxes.txt", "2 60.0 27.0 325.0 304.0\n5 0.0 1.5 10.0 20.0\n7 4 5 6 7\n")
    return root


def test_cub(cub):
    dataset = open_dataset("cub", cub, "train")
    assert dataset == Dataset(
        name="cub", root=cub, split="train", classes=("003.Sooty Albatross", "010.Wren"),
        records=(
            Record("003.Sooty Albatross/a 1.jpg", cub / "images", 0, ((60.0, 27.0, 385.0, 331.0),)),
            Record("010.Wren/b.jpg", cub / "images", 1, ((4.0, 5.0, 10.0, 12.0),))))
    assert dataset.records[0].path == cub / "images/003.Sooty Albatross/a 1.jpg"


def test_cub_splits(cub):
    assert ids(open_dataset("cub", str(cub), "test")) == ["003.Sooty Albatross/c.jpg"]
    assert len(open_dataset("cub", cub, "all").records) == 3


def test_cub_survives_windows_line_ends_and_blank_lines(cub):
    expected = open_dataset("cub", cub, "all")
    for table in cub.glob("*.txt"):
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert open_dataset("cub", cub, "all") == expected


def test_cub_names_that_are_not_utf_8(cub):
    table = cub / "images.txt"
    table.write_bytes(table.read_bytes().replace(b"b.jpg", b"\xe9.jpg"))
    dataset = open_dataset("cub", cub, "all")
    assert os.fsencode(dataset.records[-1].path).endswith(b"\xe9.jpg")
    dataset.digest()


@pytest.mark.parametrize("table, line, content, expected", [
    ("images.txt", 1, "seven 010.Wren/b.jpg", "a whole number"),
    ("images.txt", 3, "5", "a name"),
    ("image_class_labels.txt", 2, "5 three", "a whole number"),
    ("train_test_split.txt", 3, "7 2", "1 for training or 0 for test"),
    ("bounding_boxes.txt", 1, "2 60.0 27.0 325.0", "x, y, width and height"),
    ("bounding_boxes.txt", 2, "5 0.0 1.5 0.0 20.0", "a box that is not empty"),
    ("bounding_boxes.txt", 3, "7 4 5 nan 7", "a box that is not empty"),
    ("train_test_split.txt", 2, "2 0", "each id once"),
])
def test_cub_malformed_line(cub, table, line, content, expected):
    lines = (cub / table).read_text().splitlines()
    lines[line - 1] = content
    write(cub / table, "\n".join(lines))
    message = refusal("cub", cub)
    assert expected in message and f"line {line} of {str(cub / table)!r}" in message
    assert repr(content) in message


@pytest.mark.parametrize("shorter, lacking", [
    ("image_class_labels.txt", "image_class_labels.txt"), ("images.txt", "images.txt")])
def test_cub_tables_must_agree(cub, shorter, lacking):
    lines = (cub / shorter).read_text().splitlines()
    write(cub / shorter, "\n".join(lines[:-1]))
    assert f"1 missing in {lacking}, the first of them" in refusal("cub", cub)


def test_cub_class_must_be_listed(cub):
    write(cub / "classes.txt", "3 003.Sooty Albatross\n")
    assert "did not find 10" in refusal("cub", cub)


def test_cub_image_listed_twice(cub):
    write(cub / "images.txt", "2 x/a.jpg\n5 x/a.jpg\n7 x/b.jpg\n")
    assert "each image once" in refusal("cub", cub)


def test_cub_wrong_folder(cub):
    message = refusal("cub", cub.parent)
    assert "CUB-200-2011's official layout" in message
    assert "found no images, images.txt" in message and "but 'cub'" in message
    assert "found no such folder" in refusal("cub", cub / "nowhere")
    (cub / "bounding_boxes.txt").unlink()
    assert "found no bounding_boxes.txt there but" in refusal("cub", cub)


def test_empty_split(cub):
    write(cub / "train_test_split.txt", "2 1\n5 1\n7 1\n")
    assert "expected test images" in refusal("cub", cub, "test")


# ILSVRC


def annotation(*objects):
    """The XML of an image from (name, xmin, ymin, xmax, ymax) tuples."""
    return "<annotation><size><width>500</width></size>" + "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>" for name, x0, y0, x1, y1 in objects
    ) + "</annotation>"


@pytest.fixture
def imagenet(tmp_path):
    root = tmp_path / "ILSVRC"
    images, annotations = root / "Data/CLS-LOC", root / "Annotations/CLS-LOC/val"
    write(images / "train/n02000000/n02000000_7.JPEG")
    write(images / "train/n01000000/n01000000_1.JPEG")
    write(images / "train/n01000000/n01000000_0.JPEG")
    write(images / "val/ILSVRC2012_val_00000001.JPEG")
    write(images / "val/ILSVRC2012_val_00000002.JPEG")
    write(annotations / "ILSVRC2012_val_00000001.xml",
          annotation(("n02000000", 0, 10, 500, 375), ("n02000000", 5, 6, 7, 8)))
    write(annotations / "ILSVRC2012_val_00000002.xml", annotation(("n01000000", 1, 2, 3, 4)))
    return root


def test_imagenet_train(imagenet):
    dataset = open_dataset("imagenet", imagenet, "train")
    assert dataset.classes == ("n01000000", "n02000000")
    assert [(record.image_id, record.label, record.boxes) for record in dataset.records] == [
        ("train/n01000000/n01000000_0.JPEG", 0, ()), ("train/n01000000/n01000000_1.JPEG", 0, ()),
        ("train/n02000000/n02000000_7.JPEG", 1, ())]
    assert all(record.path == imagenet / "Data/CLS-LOC" / record.image_id
               for record in dataset.records)


def test_imagenet_validation_has_several_boxes_an_image(imagenet):
    dataset = open_dataset("imagenet", imagenet, "test")
    assert dataset.classes == ("n01000000", "n02000000")
    assert [(record.image_id, record.label, record.boxes) for record in dataset.records] == [
        ("val/ILSVRC2012_val_00000001.JPEG", 1,
         ((0.0, 10.0, 500.0, 375.0), (5.0, 6.0, 7.0, 8.0))),
        ("val/ILSVRC2012_val_00000002.JPEG", 0, ((1.0, 2.0, 3.0, 4.0),))]
    assert len(open_dataset("imagenet", imagenet, "all").records) == 5


def test_imagenet_training_needs_no_validation_images(imagenet):
    (imagenet / "Data/CLS-LOC/val").rename(imagenet / "elsewhere")
    assert len(open_dataset("imagenet", imagenet, "train").records) == 3
    assert "found no Data/CLS-LOC/val there" in refusal("imagenet", imagenet, "test")


@pytest.mark.parametrize("content, expected", [
    ("<annotation><object>", "expected XML"),
    ("", "expected XML"),
    (annotation(), "found no object"),
    (annotation(("n01000000", 1, 2, 3, 4), ("n02000000", 1, 2, 3, 4)),
     "found n01000000, n02000000"),
    (annotation(("n09999999", 1, 2, 3, 4)), "found 'n09999999'"),
    (annotation(("n01000000", 3, 2, 3, 4)), "found ['3', '2', '3', '4']"),
    (annotation(("n01000000", "", 2, 3, 4)), "a box that is not empty"),
    ("<annotation><object><name>n01000000</name></object></annotation>", "xmin, ymin, xmax"),
])
def test_imagenet_malformed_annotation(imagenet, content, expected):
    path = write(imagenet / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", content)
    message = refusal("imagenet", imagenet, "test")
    assert expected in message and repr(str(path)) in message


def test_imagenet_missing_annotation(imagenet):
    path = imagenet / "Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml"
    path.unlink()
    assert f"expected the annotation {str(path)!r}" in refusal("imagenet", imagenet, "test")


# Folder of class folders


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pets"
    write(root / "dog/b.jpg", "dog")
    write(root / "cat/a.png", "cat")
    write(root / "cat/deep/c.jpg")
    return root


@pytest.fixture
def split_folder(tmp_path):
    root = tmp_path / "pets"
    write(root / "train/dog/b.jpg")
    write(root / "train/cat/a.jpg")
    write(root / "test/ant/a.jpg")
    write(root / "test/dog/a.jpg")
    return root


def test_folder(folder):
    dataset = open_dataset("folder", folder, "all")
    assert dataset.classes == ("cat", "dog")
    assert dataset.records == (
        Record("cat/a.png", folder, 0), Record("cat/deep/c.jpg", folder, 0),
        Record("dog/b.jpg", folder, 1))


def test_a_folder_without_splits_is_for_training(folder):
    assert open_dataset("folder", folder, "train").records == open_dataset(
        "folder", folder, "all").records
    message = refusal("folder", folder, "test")
    assert "expected the folders train and test" in message and "found 'cat', 'dog'" in message


def test_folder_classes_are_those_of_both_splits(split_folder):
    train = open_dataset("folder", split_folder, "train")
    test = open_dataset("folder", split_folder, "test")
    assert train.classes == test.classes == ("ant", "cat", "dog")
    assert [(record.image_id, record.label) for record in train.records] == [
        ("train/cat/a.jpg", 1), ("train/dog/b.jpg", 2)]
    assert ids(test) == ["test/ant/a.jpg", "test/dog/a.jpg"]
    everything = open_dataset("folder", split_folder, "all")
    assert everything.records == test.records + train.records


def test_one_split_alone(split_folder, folder):
    (split_folder / "test").rename(split_folder.parent / "elsewhere")
    assert "expected both train and test" in refusal("folder", split_folder, "all")
    write(split_folder.parent / "vehicles/train/steam.jpg")  # a class that happens to be trains
    assert open_dataset("folder", split_folder.parent / "vehicles", "all").classes == ("train",)


def test_folder_boxes(folder):
    write(folder / "boxes.csv", 'image_id,x0,y0,x1,y1\ncat/a.png,1,2,3.5,4\n\n"dog/b.jpg",0,0,9,9\n'
                                "cat/a.png,5,6,7,8\n")
    dataset = open_dataset("folder", folder, "all")
    assert [record.boxes for record in dataset.records] == [
        ((1.0, 2.0, 3.5, 4.0), (5.0, 6.0, 7.0, 8.0)), (), ((0.0, 0.0, 9.0, 9.0),)]


def test_folder_boxes_may_belong_to_the_other_split(split_folder):
    write(split_folder / "boxes.csv",
          "image_id,x0,y0,x1,y1\ntest/ant/a.jpg,0,0,1,1\ntrain/dog/b.jpg,0,0,2,2\n")
    dataset = open_dataset("folder", split_folder, "train")
    assert [record.boxes for record in dataset.records] == [(), ((0.0, 0.0, 2.0, 2.0),)]


@pytest.mark.parametrize("content, line, expected", [
    ("", 1, "the columns image_id,x0,y0,x1,y1"),
    ("image_id;x0;y0;x1;y1\n", 1, "the columns image_id,x0,y0,x1,y1"),
    ("image_id,x0,y0,x1,y1\ncat/a.png,1,2,3\n", 2, "an image_id and four numbers"),
    ("image_id,x0,y0,x1,y1\n\ncat/a.png,1,2,1,4\n", 3, "x0 < x1 and y0 < y1"),
    ("image_id,x0,y0,x1,y1\ncat/a.png,1,two,3,4\n", 2, "x0 < x1 and y0 < y1"),
    ("image_id,x0,y0,x1,y1\ncat/a.jpg,1,2,3,4\n", 2, "the image_id of a file"),
    ('image_id,x0,y0,x1,y1\n"cat/a.png,1,2,3,4\n', 2, "comma-separated values"),
])
def test_folder_malformed_boxes(folder, content, line, expected):
    path = write(folder / "boxes.csv", content)
    message = refusal("folder", folder, "all")
    assert expected in message and f"line {line} of {str(path)!r}" in message


def test_only_what_nobody_means_as_an_image_is_left_out(folder):
    for name in (".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/a.jpg"):
        write(folder / "cat" / name)
    write(folder / ".git/config")
    write(folder / "README.md")
    for name in ("no_extension", "notes.txt", "film.mp4"):
        write(folder / "dog" / name)
    dataset = open_dataset("folder", folder, "all")
    assert dataset.classes == ("cat", "dog")
    assert ids(dataset) == ["cat/a.png", "cat/deep/c.jpg", "dog/b.jpg", "dog/film.mp4",
                            "dog/no_extension", "dog/notes.txt"]


def test_pictures_outside_the_class_folders_are_refused(folder):
    write(folder / "stray.JPG")
    assert "found " + repr(str(folder / "stray.JPG")) in refusal("folder", folder, "all")


def test_folder_without_images(tmp_path):
    assert "expected images in" in refusal("folder", tmp_path, "all")
    write(tmp_path / "cat/.hidden")
    assert "found none" in refusal("folder", tmp_path, "all")


def test_file_in_place_of_a_folder(folder):
    assert "found no such folder" in refusal("folder", folder / "dog/b.jpg", "all")


def test_links(folder):
    (folder / "dog/gone.jpg").symlink_to("nowhere.jpg")
    (folder / "dog/circle.jpg").symlink_to("circle.jpg")
    (folder / "puppy").symlink_to("dog")
    dataset = open_dataset("folder", folder, "all")
    assert ids(dataset)[2:] == ["dog/b.jpg", "dog/circle.jpg", "dog/gone.jpg",
                                "puppy/b.jpg", "puppy/circle.jpg", "puppy/gone.jpg"]
    (folder / "dog/endless").symlink_to("..")
    assert "a link to a folder above itself" in refusal("folder", folder, "all")


def test_strange_names(folder):
    names = [b"two\nlines.jpg", b"latin1-\xe9.jpg", "grün 鳥.jpg".encode()]
    try:
        for name in names:
            Path(os.fsdecode(os.fsencode(folder / "dog") + b"/" + name)).touch()
    except (OSError, UnicodeError):
        pytest.skip("this file system does not allow the names")
    dataset = open_dataset("folder", folder, "all")
    assert {b"dog/" + name for name in names} <= set(map(os.fsencode, ids(dataset)))
    dataset.digest()
    write(folder / "dog\nhouse/x.jpg")
    assert "dog\nhouse" in open_dataset("folder", folder, "all").classes
    assert "found no such folder" in refusal("folder", folder / "dog\ntrain", "all")


# Backgrounds


def test_backgrounds(tmp_path):
    for name in ("b.jpg", "sea/a.png", "sea/deep/er.webp", "Thumbs.db", "boxes.csv", "a.txt"):
        write(tmp_path / name)
    dataset = open_backgrounds(tmp_path)
    assert (dataset.name, dataset.split, dataset.classes) == ("background", "all", ())
    assert dataset.records == tuple(
        Record(name, tmp_path, -1, ())
        for name in ("a.txt", "b.jpg", "sea/a.png", "sea/deep/er.webp"))


def test_wrong_background_folder(tmp_path):
    assert "expected background images" in refusal(tmp_path, opener=open_backgrounds)
    assert "found no such folder" in refusal(tmp_path / "nowhere", opener=open_backgrounds)


# What every data set can do


def test_unknown_words(folder):
    assert "among cub, imagenet, folder, pictures, found 'coco'" in refusal("coco", folder, "all")
    assert "among train, test, all, found 'val'" in refusal("folder", folder, "val")


def test_digest_is_that_of_the_sorted_names_and_sizes(folder):
    expected = hashlib.sha256(b"cat/a.png\x003\0cat/deep/c.jpg\x000\0dog/b.jpg\x003\0").hexdigest()
    assert open_dataset("folder", folder, "all").digest() == expected


def test_digest_notices_what_changed(folder):
    dataset = open_dataset("folder", folder, "all")
    seen = [dataset.digest()]
    write(folder / "dog/b.jpg", "a longer dog")
    seen.append(dataset.digest())
    (folder / "dog/b.jpg").unlink()
    seen.append(dataset.digest())
    write(folder / "dog/b.jpg", "")
    seen.append(dataset.digest())
    (folder / "dog/b.jpg").rename(folder / "dog/c.jpg")
    seen.append(open_dataset("folder", folder, "all").digest())
    assert len(set(seen)) == 5


def test_classes_digest_is_that_of_the_partition_into_classes(folder):
    dataset = open_dataset("folder", folder, "all")

    def with_labels(*labels):
        return dataclasses.replace(dataset, records=tuple(
            dataclasses.replace(record, label=label)
            for record, label in zip(dataset.records, labels))).classes_digest
    assert [record.label for record in dataset.records] == [0, 0, 1]
    assert with_labels(5, 5, 2) == dataset.classes_digest
    assert len({dataset.classes_digest, with_labels(0, 0, 0), with_labels(0, 1, 1),
                with_labels(0, 1, 2)}) == 4


def test_digest_does_not_depend_on_the_place(folder, tmp_path):
    first = open_dataset("folder", folder, "all").digest()
    folder.rename(tmp_path / "moved")
    assert open_dataset("folder", tmp_path / "moved", "all").digest() == first


def test_records_travel_to_worker_processes(cub):
    dataset = open_dataset("cub", cub, "all")
    assert pickle.loads(pickle.dumps(dataset)) == dataset


# Real data


@needs_real_data
def test_real_birds():
    train, test, everything = (open_dataset("cub", REAL / "cub25", split)
                               for split in ("train", "test", "all"))
    assert [len(dataset.records) for dataset in (train, test, everything)] == [750, 652, 1402]
    assert len(everything.classes) == 25
    assert everything.classes[0] == "001.Black_footed_Albatross"
    assert {record.label for record in train.records} == set(range(25))
    for record in everything.records:
        assert record.path.is_file()
        assert record.image_id.startswith(everything.classes[record.label] + "/")
    boxes = {record.image_id: record.boxes for record in everything.records}
    assert boxes["001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg"] == (
        (60.0, 27.0, 385.0, 331.0),)


@needs_real_data
def test_real_backgrounds():
    assert len(open_backgrounds(REAL / "background").records) == 430
