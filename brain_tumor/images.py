"""Any upload -> slice: one reader for files, PIL images and arrays; limits; errors that name the culprit."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import PureWindowsPath
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps

# A file is held in memory while it is decoded. 50 MB is MAX_PIXELS of uncompressed 8-bit grey, and some room.
MAX_BYTES = 50_000_000
# A file of 164 kB can unpack to gigabytes. 40 million pixels is a good camera's photograph of a film, or a
# hundred large MRI slices; at Pillow's 4 bytes per pixel it is 160 MB, which a server survives.
MAX_PIXELS = 40_000_000
# Networks look at images several times this large: of less, they would judge the interpolation.
MIN_SIDE = 32

# Only formats that Pillow decodes within the process; for some others, such as EPS, it starts programs.
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")
_SIGNATURES = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II[*+]\0|MM\0[*+]|RIFF....WEBP|GIF8[79]a"
    rb"|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",  # texts begin with "BM" too, but lack a header size
    re.DOTALL,
)
_DEEP_CHANNELS = re.compile(";16[BLN]")  # in Pillow's names for 16 bits per channel; ";16" alone is per pixel
_WHITE_IS_ZERO = 0  # a value of the TIFF tag PhotometricInterpretation


class ImageError(ValueError):
    """An image cannot be used. The message is one sentence for a person: the file's base name and why."""


def is_picture(head: bytes) -> bool:
    """Whether a file, of which the first 32 bytes or more are given, is of a format that `read_image` reads."""
    return _SIGNATURES.match(head) is not None


def looks_like_picture(head: bytes, name: str) -> bool:
    """Whether a file is of such a format, by its first bytes or by its name: then it may be called by its name. That
    of a scan, damaged ones included, may be its patient's."""
    return is_picture(head) or name.lower().endswith(
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp")
    )


def read_image(
    source: str | os.PathLike | bytes | BinaryIO | Image.Image | np.ndarray, name: str | None = None
) -> Image.Image:
    """Read one slice: of an animation or a file of several pages, the first.

    The format is told from the content, never from the extension. 8-bit pixels are kept as they are. Deeper
    grey ones, integer or real, are scaled to 0..255 between their darkest and their brightest patch of 2 x 2
    pixels: the range that the networks learned from, without single hot pixels. NaN becomes black, and so does
    an image of a single value. Of 16-bit colour the upper 8 bits are kept. EXIF orientation is applied, and what
    is transparent shows black, the background of an MRI.

    Args:
        source: A PNG, JPEG, TIFF, WebP, GIF or BMP file, as a path, its content or a binary stream (read from
            where it stands); a PIL image; or an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of
            uint8, kept as it is, or of another boolean, integer or real type, scaled like deep pixels. A
            fourth channel is opacity, full at the largest value of an integer type and at 1 otherwise.
        name: What to call the image in errors, if not what the source is called; only its base name is used.

    Returns:
        A new image of mode "RGB", with both sides at least `MIN_SIDE` and at most `MAX_PIXELS` pixels.

    Raises:
        ImageError: The source cannot be read, is not an image, is damaged, is larger than `MAX_BYTES` or
            `MAX_PIXELS` or smaller than `MIN_SIDE`, is an array of another shape or type, or has no value to
            show (none is finite, or the upper 8 bits of 16-bit colour are next to empty).
    """
    name = _display_name(source, name)
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source, name), name)
    if isinstance(source, Image.Image):
        return _from_pil(source, name)
    return _decode(_read_bytes(source, name), name)


def _display_name(source: object, name: str | None) -> str:
    candidates = (name, source, getattr(source, "name", None), getattr(source, "filename", None))
    path = next((c for c in candidates if isinstance(c, (str, os.PathLike))), "")
    # Browsers on Windows may send backslashes: a Windows path is split at both kinds of separator.
    base = PureWindowsPath(path).name
    return "".join(c if c.isprintable() else "?" for c in base) or "the image"


def _read_bytes(source: str | os.PathLike | bytes | BinaryIO, name: str) -> bytes:
    try:
        if isinstance(source, (bytes, bytearray)):
            data = bytes(source)
        elif isinstance(source, (str, os.PathLike)):
            data = _read_path(source, name)
        else:
            data = source.read(MAX_BYTES + 1)
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in a path, a closed stream
        reason = (getattr(error, "strerror", None) or "input failed").lower()
        raise ImageError(f"{name} cannot be read: {reason}.") from error
    if not data:
        raise ImageError(f"{name} is empty; export it again, or copy it again from where it came.")
    _check_bytes(len(data), name)
    return data


def _read_path(path: str | os.PathLike, name: str) -> bytes:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{name} is a folder, not an image file; choose the files in it, or a zip of them.")
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise ImageError(f"{name} is not an ordinary file; copy what it holds into one and choose that.")
    _check_bytes(status.st_size, name)
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _decode(data: bytes, name: str) -> Image.Image:
    """Choose a decoder by what the content begins with: extensions lie, and medical files often lack one."""
    if is_picture(data):
        return _decode_picture(data, name)
    raise ImageError(
        f"{name} is not an image in a format that can be read; export it as PNG, JPEG, TIFF, DICOM or NIfTI, a series "
        "as a zip."
    )


def _decode_picture(data: bytes, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)  # parses the header only
    except Exception as error:  # on malformed files, Pillow raises anything from KeyError to struct.error
        raise _undecodable(error, name) from error
    return _from_pil(image, name)


def _from_pil(image: Image.Image, name: str) -> Image.Image:
    _check_size(image.width, image.height, name)
    layout = str(getattr(image, "tile", ""))  # gone once loaded
    try:
        image.load()
    except Exception as error:  # as above
        raise _undecodable(error, name) from error
    if image.mode in ("RGB", "RGBA", "LA") and _DEEP_CHANNELS.search(layout):
        _check_colour_range(image, name)
    return _to_rgb(_upright(image), name)


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        expected = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        raise ImageError(f"{name} has the shape {array.shape} where {expected} is needed.")
    if array.dtype.kind not in "buif":
        raise ImageError(f"{name} holds {array.dtype.name} values where real numbers are needed.")
    _check_size(array.shape[1], array.shape[0], name)
    pixels = array if array.ndim == 3 else array[..., np.newaxis]
    if pixels.dtype != np.uint8:
        # One window for all colours: with one for each, hues would change.
        pixels = np.concatenate([_window(pixels[..., :3], name), _opacity(pixels[..., 3:])], axis=2)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # EXIF that cannot be parsed is no reason to refuse pixels that are intact
        return image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _window(np.asarray(image), name)
        # Pillow turns 8-bit negatives into positives while decoding, but leaves deeper ones as they are.
        if getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
            grey = 255 - grey
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.new("RGB", rgba.size)
        rgb.paste(rgba, mask=rgba.getchannel("A"))
    else:
        rgb = image.convert("RGB")
    rgb.info.clear()  # a CMYK profile, say, no longer describes these pixels but would be saved with them
    return rgb


def _window(values: np.ndarray, name: str) -> np.ndarray:
    """Scale real numbers (H, W) or (H, W, 3) to uint8: what `_limits` says to 0 and 255."""
    values = values.astype(np.result_type(values, np.float32))
    values *= 0.5  # so that no difference of two of them overflows
    low, high = _limits(values, name)
    values -= low
    values /= (high - low) or 1.0
    values[np.isnan(values)] = 0.0
    np.clip(values, 0.0, 1.0, out=values)
    values *= 255.0
    return np.rint(values, out=values).astype(np.uint8)


def _limits(values: np.ndarray, name: str) -> tuple[float, float]:
    """Between minimum and maximum a single hot pixel would blacken all others, and percentiles would cut off the
    brightest of what there is to see; of patches, the brightest is as bright as its darkest pixel."""
    finite = np.where(np.isfinite(values), values, np.nan)
    if np.isnan(finite).all():
        raise ImageError(f"{name} holds no finite pixel value; export it again from where it came.")
    low, high = np.nanmin(_patches(finite, np.fmax)), np.nanmax(_patches(finite, np.fmin))
    if low >= high:  # nothing is as large as a patch, as in a mask of something small: those few pixels matter
        low, high = np.nanmin(finite), np.nanmax(finite)
    return float(low), float(high)


def _patches(values: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The extreme of every 2 x 2 pixels; NaN where none of them is known."""
    rows = extreme(values[:-1], values[1:])
    return extreme(rows[:, :-1], rows[:, 1:])


def _opacity(alpha: np.ndarray) -> np.ndarray:
    full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1.0
    return np.rint(np.clip(np.nan_to_num(alpha / full), 0.0, 1.0) * 255.0).astype(np.uint8)


def _check_bytes(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise ImageError(f"{name} is larger than {MAX_BYTES // 1_000_000} MB; make it smaller first.")


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(name)
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels, and at least {MIN_SIDE} x {MIN_SIDE} are needed; export it in full "
            "size, no preview of it."
        )


def _check_colour_range(image: Image.Image, name: str) -> None:
    # Of 16-bit colour, unlike grey, Pillow keeps the upper 8 bits only: 12-bit values would come out black.
    brightest = max(high for _, high in image.convert("RGB").getextrema())
    if brightest < 64:
        raise ImageError(f"{name} uses little of the range of 16-bit colour; save it with 8 bits or as grey.")


def _undecodable(error: Exception, name: str) -> ImageError:
    # Pillow has limits of its own above MAX_PIXELS: a warning, which may be set to raise, then an error.
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return _too_many_pixels(name)
    if "MAX_TEXT" in str(error):  # its limits on the text in a PNG have no exception of their own
        return ImageError(f"{name} carries too much metadata; save it again without.")
    return ImageError(f"{name} is cut short, damaged or of a rare kind; copy it again, or save it as an ordinary PNG.")


def _too_many_pixels(name: str) -> ImageError:
    limit = MAX_PIXELS // 1_000_000
    return ImageError(f"{name} has more than {limit} million pixels; make it smaller first.")
