"""Other people's folders: layouts, splits, litter, names in Unicode, and the line that says it."""

import os
import unicodedata
from pathlib import Path

import pytest

from common.datasets import Dataset, DatasetError, Record, open_backgrounds, open_dataset, recognize
from tests.test_datasets import ids, refusal, write

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Möwe") for form in ("NFC", "NFD"))


@pytest.fixture
def tree(tmp_path):
    """Write empty files, given by their paths below a new folder."""

    def make(*paths, name="data"):
        for path in paths:
            write(tmp_path / name / path, path)
        return tmp_path / name
    return make


def skipped(dataset):
    return {one.what: (one.count, one.names) for one in dataset.skipped}


@pytest.fixture
def cub(tree):
    root = tree("images/001.Gull/a.jpg", "images/002.Wren/b.jpg")
    write(root / "images.txt", "1 001.Gull/a.jpg\n2 002.Wren/b.jpg\n")
    write(root / "image_class_labels.txt", "1 1\n2 2\n")
    write(root / "train_test_split.txt", "1 1\n2 0\n")
    write(root / "bounding_boxes.txt", "1 1 2 3 4\n2 1 2 3 4\n")
    write(root / "classes.txt", "1 001.Gull\n2 002.Wren\n")
    return root


# Splits


@pytest.mark.parametrize("train", ["train", "Train", "TRAIN", "training", "Training"])
@pytest.mark.parametrize("test", ["test", "Test", "testing", "val", "valid", "Validation"])
def test_splits_however_they_are_spelled(tree, train, test):
    root = tree(f"{train}/a/1.jpg", f"{train}/b/2.jpg", f"{test}/a/3.jpg", f"{test}/b/4.jpg")
    assert open_dataset("folder", root, "train").classes == ("a", "b")
    assert ids(open_dataset("folder", root, "train")) == [f"{train}/a/1.jpg", f"{train}/b/2.jpg"]
    assert ids(open_dataset("folder", root, "test")) == [f"{test}/a/3.jpg", f"{test}/b/4.jpg"]
    assert len(open_dataset("folder", root, "all").records) == 4
    summary = open_dataset("folder", root, "train").summary()
    assert "2 classes ('a', 'b')" in summary and "2 train images" in summary
    assert "2 test images" in summary
    assert (f"in {test!r}" in summary) == (test != "test")


def test_validation_images_beside_test_images_are_left_out_and_named(tree):
    root = tree("train/a/1.jpg", "test/a/2.jpg", "val/a/3.jpg", "more/a/4.jpg", "cover.png")
    dataset = open_dataset(None, root, "all")
    assert ids(dataset) == ["test/a/2.jpg", "train/a/1.jpg"]
    assert skipped(dataset) == {"folders that are no split in use": (2, ("more", "val")),
                                "pictures outside the splits": (1, ("cover.png",))}
    assert "left out: pictures outside the splits (1: 'cover.png'), folders that are no split in "\
        "use (2: 'more', 'val')" in dataset.summary()


@pytest.mark.parametrize("folders", [("train", "Train", "test"), ("train", "test", "Testing"),
                                     ("train", "val", "valid")])
def test_two_folders_of_one_split(tree, folders):
    root = tree(*(f"{folder}/a/1.jpg" for folder in folders))
    assert "expected one folder of the" in refusal("folder", root, "all")


@pytest.mark.parametrize("folder", ["train", "Training", "test", "Valid"])
def test_a_split_alone(tree, folder):
    root = tree(f"{folder}/a/1.jpg")
    message = refusal("folder", root, "all")
    assert "expected both train and test" in message and f"name {folder} itself" in message


def test_classes_that_are_called_as_splits_are(tree):
    root = tree("Train/1.jpg", "Bus/2.jpg", "valid/3.jpg", "invalid/4.jpg")
    assert open_dataset("folder", root, "all").classes == ("Bus", "Train", "invalid", "valid")


def test_classes_that_only_one_split_has_are_named(tree):
    root = tree("train/Dog/1.jpg", "train/cat/2.jpg", "test/dog/3.jpg", "test/cat/4.jpg")
    summary = open_dataset("folder", root, "train").summary()
    assert "1 of the classes without train images ('dog')" in summary
    assert "1 of the classes without test images ('Dog')" in summary


# What cannot be a class folder


@pytest.mark.parametrize("paths, named", [
    (["training_set/a/1.jpg", "test_set/a/2.jpg"], "test_set"),
    (["images/a/1.jpg", "labels/a/1.txt"], "images"),
    (["cat/1.jpg", "dog/poodle/2.jpg", "dog/beagle/3.jpg"], "dog"),
    (["pets/pets/cat/1.jpg"], "pets")])
def test_a_folder_of_folders_is_no_class(tree, paths, named):
    root = tree(*paths)
    message = refusal("folder", root, "all")
    assert "directly in the class folder" in message or "give that" in message
    assert named in message


def test_a_class_may_have_folders_beside_its_pictures(tree):
    root = tree("cat/1.jpg", "cat/more/2.jpg")
    assert ids(open_dataset("folder", root, "all")) == ["cat/1.jpg", "cat/more/2.jpg"]


def test_folders_without_pictures_are_no_classes_and_named(tree):
    root = tree("cat/1.jpg", "dog/2.JPG", "notes/a.txt", "boxes/b.xml", "notes/LICENSE")
    (root / "ant").mkdir()
    (root / "bee/inside").mkdir(parents=True)
    dataset = open_dataset("folder", root, "all")
    assert dataset.classes == ("cat", "dog")
    assert skipped(dataset) == {"empty folders": (2, ("ant", "bee")),
                                "folders without pictures": (2, ("boxes", "notes"))}
    assert "empty folders (2: 'ant', 'bee')" in dataset.summary()


def test_a_class_that_has_pictures_in_one_split_only_stays_one(tree):
    root = tree("train/a/1.jpg", "test/a/2.jpg", "test/b/3.jpg")
    (root / "train/b").mkdir()
    assert open_dataset("folder", root, "train").classes == ("a", "b")


@pytest.mark.parametrize("ending", ["avif", "jfif", "ppm", "jp2", "heic", "webp", "TIF", "dng",
                                    "jpe", "mpo", "jxl"])
@pytest.mark.parametrize("place", ["", "train/"])
def test_loose_pictures_do_not_vanish(tree, ending, place):
    paths = ["train/a/1.jpg", "test/a/2.jpg"] if place else ["a/1.jpg", "b/2.jpg"]
    root = tree(*paths, f"{place}x.{ending}", f"{place}y.{ending}", f"{place}z.{ending}")
    message = refusal("folder", root, "all")
    assert f"found {str(root / place / 'x')!r}"[:-1] in message and "and 2 more" in message


def test_pictures_that_are_not_supported_are_counted(tree):
    root = tree("a/1.jpg", "a/2.heic", "b/3.HEIC", "b/4.CR2")
    dataset = open_dataset("folder", root, "all")
    assert dataset.classes == ("a", "b") and len(dataset.records) == 4
    assert "3 of the files are pictures of kinds that are not supported" in dataset.summary()


# Litter


@pytest.mark.parametrize("name", [
    "@eaDir", "__MACOSX", ".ipynb_checkpoints", ".Trash-1000", ".thumbnails", "#recycle",
    "lost+found", "$RECYCLE.BIN", "System Volume Information", "@Recycle", "#snapshot",
    ".AppleDouble", ".git"])
def test_folders_of_the_desktop(tree, name):
    root = tree("a/1.jpg", "b/2.jpg", f"{name}/x/1.jpg", f"a/{name}/1.jpg/THUMB.jpg")
    dataset = open_dataset("folder", root, "all")
    assert ids(dataset) == ["a/1.jpg", "b/2.jpg"]
    assert skipped(dataset) == {"hidden or left by the desktop": (2, (name, f"a/{name}"))}


@pytest.mark.parametrize("name", [
    ".DS_Store", "._1.jpg", "Thumbs.db", "desktop.ini", "Desktop.INI", "Picasa.ini", "Icon\r",
    "1.jpg~", "1.jpg@SynoEAStream", "1.jpg:Zone.Identifier", "ehthumbs_vista.db"])
def test_files_of_the_desktop(tree, name):
    root = tree("a/1.jpg", f"a/{name}")
    dataset = open_dataset("folder", root, "all")
    assert ids(dataset) == ["a/1.jpg"]
    assert skipped(dataset) == {"hidden or left by the desktop": (1, (f"a/{name}",))}
    assert ids(open_backgrounds(root)) == ["a/1.jpg"]
    assert "hidden or left by the desktop (1:" in open_backgrounds(root).summary()


# Names in Unicode


def both_forms(root):
    """Whether the file system keeps both forms apart; macOS does not."""
    return len(list(root.iterdir())) > 1


def test_one_class_in_two_unicode_forms(tree):
    root = tree(f"train/{COMPOSED}/1.jpg", "train/b/2.jpg", f"test/{DECOMPOSED}/3.jpg",
                "test/b/4.jpg")
    for split in ("train", "test", "all"):
        dataset = open_dataset("folder", root, split)
        assert dataset.classes == (COMPOSED, "b")
        assert all(record.path.is_file() for record in dataset.records)
    assert ids(open_dataset("folder", root, "test"))[0] == f"test/{COMPOSED}/3.jpg"


def test_the_same_class_twice_in_one_folder(tree):
    root = tree(f"{COMPOSED}/1.jpg", f"{DECOMPOSED}/2.jpg")
    dataset = open_dataset("folder", root, "all")
    assert dataset.classes == (COMPOSED,) and len(dataset.records) == 2
    assert all(record.path.is_file() for record in dataset.records)


def test_two_files_of_one_name(tree):
    root = tree(f"a/{COMPOSED}.jpg", f"a/{DECOMPOSED}.jpg")
    if not both_forms(root / "a"):
        pytest.skip("one name on this file system")
    message = refusal("folder", root, "all")
    assert "one name in two Unicode forms" in message and "M\\xf6we" in message
    assert "one name in two Unicode forms" in refusal(root, opener=open_backgrounds)


@pytest.mark.parametrize("on_disk, written", [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_boxes_name_images_in_any_form(tree, on_disk, written):
    root = tree(f"{on_disk}/1.jpg")
    write(root / "boxes.csv", f"image_id,x0,y0,x1,y1\n{written}/1.jpg,1,2,3,4\n")
    record, = open_dataset("folder", root, "all").records
    assert record.boxes == ((1, 2, 3, 4),) and record.path.is_file()


@pytest.mark.parametrize("on_disk, written", [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_cub_names_images_in_any_form(cub, on_disk, written):
    (cub / "images/001.Gull").rename(cub / f"images/001.{on_disk}")
    for table in ("images.txt", "classes.txt"):
        path = cub / table
        path.write_text(path.read_text().replace("Gull", written), encoding="utf-8")
    dataset = open_dataset("cub", cub, "train")
    assert dataset.classes == (f"001.{COMPOSED}", "002.Wren")
    record, = dataset.records
    assert record.image_id == f"001.{COMPOSED}/a.jpg" and record.path.is_file()


def test_digest_does_not_depend_on_the_unicode_form(tree):
    first = open_dataset("folder", tree(f"{COMPOSED}/1.jpg", name="one"), "all")
    second = open_dataset("folder", tree(f"{DECOMPOSED}/1.jpg", name="two"), "all")
    same_size = len(f"{COMPOSED}/1.jpg".encode())
    write(second.records[0].path, "x" * same_size)
    assert first.digest() == second.digest()


# Text files


@pytest.mark.parametrize("encode", [
    lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16"),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\r").encode(),
    lambda text: ("\n\n" + text.replace("\n", "\n \n")).encode(),
], ids=["mark", "utf-16", "windows", "old mac", "blank lines"])
def test_text_however_it_was_written(cub, encode):
    expected = open_dataset("cub", cub, "all")
    for table in cub.glob("*.txt"):
        table.write_bytes(encode(table.read_text()))
    assert open_dataset("cub", cub, "all") == expected


@pytest.mark.parametrize("encode", [
    lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16"),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\n\n ,,,,\n").encode(),
    lambda text: text.replace("a/1", r"a\1").replace("a/2.jpg", " a/2.jpg ").encode()],
    ids=["mark", "utf-16", "windows", "blank lines", "windows paths"])
def test_boxes_however_they_were_written(tree, encode):
    root = tree("a/1.jpg", "a/2.jpg")
    (root / "boxes.csv").write_bytes(
        encode("image_id,x0,y0,x1,y1\na/1.jpg,1,2,3,4\na/2.jpg,5,6,7,8\n"))
    assert [record.boxes for record in open_dataset("folder", root, "all").records] == [
        ((1, 2, 3, 4),), ((5, 6, 7, 8),)]


def test_cub_classes_that_are_listed_twice(cub):
    write(cub / "classes.txt", "1 001.Gull\n2 001.Gull\n")
    assert "expected each class once" in refusal("cub", cub)


# Recognition


@pytest.fixture
def ilsvrc(tree):
    return tree("Data/CLS-LOC/train/n1/a.JPEG", "Annotations/CLS-LOC/val/v.xml")


@pytest.mark.parametrize("kind", [None, "auto"])
def test_layouts_are_recognised(cub, tree, kind):
    flat = tree("cat/1.jpg", "dog/2.jpg", name="flat")
    split = tree("Train/cat/1.jpg", "Valid/cat/2.jpg", name="split")
    large = tree("Data/CLS-LOC/train/n1/a.JPEG", name="large")
    assert [open_dataset(kind, root, "train").name for root in (cub, flat, split, large)] == [
        "cub", "folder", "folder", "imagenet"]
    assert recognize(cub) == ("cub",) and recognize(flat) == ("folder",)


def test_a_layout_that_is_none(tree):
    message = refusal(None, tree("readme.txt"))
    assert "none of the layouts" in message and "--dataset folder" in message
    message = refusal(None, tree("1.jpg", "2.jpg", name="loose"))
    assert "no class folders" in message and "--dataset pictures" in message
    assert "found no such folder" in refusal(None, tree("a/1.jpg") / "nowhere")
    assert "unpack" in refusal(None, tree("a.tgz") / "a.tgz")


def test_a_layout_that_may_be_two(cub):
    write(cub / "cat/1.jpg")
    message = refusal(None, cub)
    assert "--dataset cub or --dataset folder" in message


def test_a_data_set_one_folder_further_down(cub, tree):
    outer = cub.parent / "outer"
    outer.mkdir()
    cub.rename(outer / "CUB_200_2011")
    for kind in (None, "cub"):
        message = refusal(kind, outer)
        assert repr(str(outer / "CUB_200_2011")) in message and "--dataset cub" in message


def test_another_layout_than_was_said(cub, tree):
    flat = tree("cat/1.jpg", "dog/2.jpg", name="flat")
    message = refusal("cub", flat)
    assert "try --dataset folder" in message and "found no images, images.txt" in message
    assert "try --dataset folder" in refusal("imagenet", flat)
    assert "try --dataset cub" in refusal("folder", cub)
    assert "try --dataset imagenet" in refusal(
        "folder", tree("Data/CLS-LOC/train/n1/a.JPEG", name="large"))


@pytest.mark.parametrize("kind", [None, "cub", "folder"])
def test_a_folder_that_was_forgotten(tree, monkeypatch, kind):
    monkeypatch.chdir(tree("readme.txt"))
    for root in ("", ".", Path("")):
        message = refusal(kind, root)
        assert "--data FOLDER" in message and "DATA=FOLDER" in message
    for root in ("", "."):
        assert "--background FOLDER" in refusal(root, opener=open_backgrounds)


def test_the_current_folder_where_it_is_a_data_set_of_the_kind(tree, monkeypatch):
    monkeypatch.chdir(tree("cat/1.jpg"))
    assert ids(open_dataset("folder", ".")) == ["cat/1.jpg"]


# Pictures without classes


def test_pictures(tree):
    root = tree("1.jpg", "deep/er/2.PNG", "no_ending", "3.heic", "notes.txt", ".hidden.jpg",
                "@eaDir/1.jpg", "LICENSE", "Pygments")
    (root / "no_ending").write_bytes(b"\x89PNG\r\n\x1a\n")
    for split in ("train", "all"):
        dataset = open_dataset("pictures", root, split)
        assert (dataset.name, dataset.split, dataset.classes) == ("pictures", split, ("target",))
        assert dataset.records == tuple(Record(name, root, 0) for name in (
            "1.jpg", "deep/er/2.PNG", "no_ending"))
    left_out = skipped(dataset)
    assert sorted(left_out.pop("hidden or left by the desktop")[1]) == [".hidden.jpg", "@eaDir"]
    assert left_out == {"pictures of kinds that are not supported": (1, ("3.heic",)),
                        "files that are no pictures": (
                            3, left_out["files that are no pictures"][1])}
    assert sorted(left_out["files that are no pictures"][1]) == ["LICENSE", "Pygments",
                                                                 "notes.txt"]
    assert "1 class ('target'), 3 images" in dataset.summary()
    assert "pictures of kinds that are not supported (1: '3.heic')" in dataset.summary()


def test_pictures_have_no_test_split(tree):
    assert "no test split" in refusal("pictures", tree("1.jpg"), "test")


def test_pictures_with_boxes(tree):
    root = tree("1.jpg", "deep/2.jpg")
    write(root / "boxes.csv", "image_id,x0,y0,x1,y1\ndeep/2.jpg,1,2,3,4\n")
    assert [record.boxes for record in open_dataset("pictures", root).records] == [
        (), ((1, 2, 3, 4),)]


def test_a_folder_of_unsupported_pictures_says_so(tree):
    message = refusal("pictures", tree("1.heic", "2.heic"))
    assert "pictures of kinds that are not supported (2: '1.heic', '2.heic')" in message


# One look at each file


def test_sizes_are_those_of_the_listing(tree, cub):
    root = tree("a/1.jpg", "b/22.jpg", name="flat")
    (root / "b/gone.jpg").symlink_to("nowhere.jpg")
    records = open_dataset("folder", root, "all").records
    assert [record.size_bytes for record in records] == [7, 8, -1]
    (cub / "images/002.Wren/b.jpg").unlink()
    assert [record.size_bytes for record in open_dataset("cub", cub, "all").records] == [21, -1]


def test_listing_digest_looks_at_no_file_again(tree, monkeypatch):
    root = tree("a/1.jpg", "b/2.jpg")
    dataset = open_dataset("folder", root, "all")
    expected = dataset.digest()

    def forbidden(*arguments, **options):
        raise AssertionError("looked at a file again")
    monkeypatch.setattr(os, "stat", forbidden)
    assert dataset.listing_digest == expected
    monkeypatch.undo()
    write(root / "a/1.jpg", "changed since")
    assert dataset.listing_digest == expected != dataset.digest()


def test_listing_digest_of_records_made_by_hand(tree):
    root = tree("a/1.jpg")
    dataset = Dataset("folder", root, "all", ("a",), (Record("a/1.jpg", root, 0),))
    assert dataset.listing_digest == dataset.digest()
    assert "1 class ('a'), 1 images" in dataset.summary()


def test_summary_of_cub(cub):
    assert open_dataset("cub", cub, "train").summary() == (
        f"{str(cub)!r}: CUB-200-2011's layout, 2 classes ('001.Gull', '002.Wren'), "
        "1 train image and 1 test image")


def test_summary_is_one_printable_line(tree):
    root = tree("two\nlines/1.jpg", "b/.hid\nden")
    summary = open_dataset("folder", root, "all").summary()
    assert "\n" not in summary and "two\\nlines" in summary


def test_errors_are_dataset_errors(tree):
    with pytest.raises(DatasetError):
        open_dataset(None, tree("x.txt"))
