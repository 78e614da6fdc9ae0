"""Small pictures as data URIs, so that a page needs no other file."""

import base64

import cv2
import numpy as np

LONGEST_SIDE = 448  # pixels: sharp where it is opened large on a phone, some 30 kB as JPEG
MAP_SIDE = 112  # pixels: a score map is smooth
JPEG_QUALITY = 82
MOST_OPAQUE = 0.45  # of a score map over its photograph, where it is 1


def thumbnail(image: np.ndarray, longest: int = LONGEST_SIDE) -> str:
    """A thumbnail with the image's own proportions.

    Args:
        image: (H, W, 3) uint8 RGB.
        longest: most pixels of its longer side.

    Returns:
        data URI of a JPEG.
    """
    height, width = image.shape[:2]
    scale = min(1, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return _jpeg(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))


def heat(score_map: np.ndarray) -> str:
    """A score map in colours, blue for 0 over green and yellow to red for 1.

    Low values are transparent, so that the photograph keeps its colours where the map is low.

    Args:
        score_map: (H, W) in [0, 1].

    Returns:
        data URI of a square WebP, to be stretched over the photograph.
    """
    levels = (np.clip(score_map, 0, 1) * 255).astype(np.uint8)
    small = cv2.resize(levels, (MAP_SIDE, MAP_SIDE), interpolation=cv2.INTER_AREA)
    opacity = (MOST_OPAQUE * small.astype(np.float32)).round().astype(np.uint8)
    coloured = np.dstack([cv2.applyColorMap(small, cv2.COLORMAP_TURBO), opacity])
    return _uri("webp", cv2.imencode(".webp", coloured, [cv2.IMWRITE_WEBP_QUALITY, 80])[1])


def colour_bar() -> str:
    """The colours of ``heat`` from 0 to 1, left to right.

    Returns:
        data URI of a PNG of 256x1 pixels.
    """
    levels = np.arange(256, dtype=np.uint8)[None]
    return _uri("png", cv2.imencode(".png", cv2.applyColorMap(levels, cv2.COLORMAP_TURBO))[1])


def grey(gradient_map: np.ndarray) -> str:
    """A gradient map from black to white, as in the paper's Fig. 3.

    Args:
        gradient_map: (H, W), any range; its absolute value is shown, the brightest 0.5 % white,
            for single pixels outshine all others.

    Returns:
        data URI of a JPEG.
    """
    magnitude = np.abs(np.asarray(gradient_map, np.float64))
    white = np.quantile(magnitude, 0.995) or magnitude.max() or 1.0
    levels = (np.clip(magnitude / white, 0, 1) * 255).astype(np.uint8)
    side = min(224, max(levels.shape))
    return _jpeg(cv2.resize(levels, (side, side), interpolation=cv2.INTER_AREA))


def black_and_white(mask: np.ndarray) -> str:
    """A mask, white where True.

    Args:
        mask: (H, W) bool.

    Returns:
        data URI of a PNG with one bit per pixel.
    """
    return _uri("png", cv2.imencode(".png", mask.astype(np.uint8) * 255,
                                    [cv2.IMWRITE_PNG_BILEVEL, 1])[1])


def _jpeg(pixels):
    return _uri("jpeg", cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])


def _uri(kind, encoded):
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
