"""Annotated pictures in the formats of other programs: one file for each format."""

from typing import TYPE_CHECKING

from common.lazy import lazy_names

if TYPE_CHECKING:
    from common.exports.annotated_pictures import AnnotatedObject, AnnotatedPicture, Annotations
    from common.exports.formats import FORMATS
    from common.exports.sources import open_annotations

__all__, __getattr__, __dir__ = lazy_names(__name__, {
    "annotated_pictures": ("AnnotatedObject", "AnnotatedPicture", "Annotations"),
    "formats": ("FORMATS",),
    "sources": ("open_annotations",),
})
