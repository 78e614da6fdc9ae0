"""Pascal VOC's XML: one file for each picture."""

from pathlib import Path
from xml.etree import ElementTree

from common.exports.annotated_pictures import AnnotatedPicture, Annotations, stems_of
from common.files import write_bytes


def write_voc(folder: Path, annotations: Annotations) -> Path:
    """Write ``Annotations/IMAGE.xml`` for each picture, subfolders kept.

    As in VOC's own files, ``xmin`` and ``ymin`` count from 1 and ``xmax`` and ``ymax`` belong to
    the box. A score, which VOC's annotations lack, is in ``confidence``.

    Returns:
        The folder.

    Raises:
        ExportError: two pictures would have the same file; nothing is written then.
    """
    for picture, stem in zip(annotations.read(), stems_of(annotations.file_names()), strict=True):
        root = _xml(picture, annotations)
        ElementTree.indent(root)
        write_bytes(folder / "Annotations" / f"{stem}.xml",
                    ElementTree.tostring(root, encoding="utf-8") + b"\n")
    return folder


def _xml(picture: AnnotatedPicture, annotations: Annotations) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    path = annotations.path(picture.image_id)
    height, width = picture.size
    _add(root, folder=path.parent.name, filename=path.name, path=str(path))
    _add(_add(root, source="")[0], database=annotations.origin)
    _add(_add(root, size="")[0], width=width, height=height, depth=3)
    _add(root, segmented=0)
    for each in picture.objects:
        x0, y0, x1, y1 = each.box
        entry, = _add(root, object="")
        cut = int(x0 == 0 or y0 == 0 or x1 == width or y1 == height)
        _add(entry, name=each.label, pose="Unspecified", truncated=cut, difficult=0)
        _add(_add(entry, bndbox="")[0], xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
        if each.score is not None:
            _add(entry, confidence=round(each.score, 6))
    return root


def _add(parent, **children):
    """Add elements with texts; returns them."""
    added = []
    for name, text in children.items():
        child = ElementTree.SubElement(parent, name)
        child.text = str(text).encode("utf-8", "replace").decode("utf-8") or None
        added.append(child)
    return added
