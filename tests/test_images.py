"""What a person may upload, what comes out of it, and what they are told when nothing can."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from slices import mri_slice

from brain_tumor.images import MAX_BYTES, MAX_PIXELS, MIN_SIDE, ImageError, read_image

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (48, 40), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (48, 40, 3), dtype=np.uint8)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LOSSLESS = {"PNG": {}, "TIFF": {}, "BMP": {}, "WEBP": {"lossless": True}}
# A smooth slope over all of an image, as 0..1, and what it must look like in 8 bits: its darkest patch of 2 x 2 pixels
# is no brighter than END, its brightest no darker than 1 - END.
SLOPE = np.linspace(0, 1, 64 * 64).reshape(64, 64)
END = SLOPE[1, 1]
SLOPE_8_BIT = np.clip((SLOPE - END) / (1 - 2 * END), 0, 1) * 255


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour_type: int, data: bytes, before=b"", after=b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def black_png(width: int, height: int) -> bytes:
    """A complete 1-bit PNG of any size, written a row at a time."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (width + 7) // 8)
    return png(width, height, 1, 0, b"".join(packer.compress(row) for _ in range(height)) + packer.flush())


def deep_colour_png(values: np.ndarray) -> bytes:
    rows = values.astype(">u2").reshape(len(values), -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return png(values.shape[1], len(values), 16, 2, data)


def pixels(source, name: str | None = None) -> np.ndarray:
    image = read_image(source, name)
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(source, name: str | None = None) -> str:
    """The error's message, after checking that a person may be shown it."""
    with pytest.raises(ImageError) as caught:
        read_image(source, name)
    message = str(caught.value)
    assert message.endswith(".") and ". " not in message and message.isprintable()
    assert "/" not in message and "\\" not in message and "<" not in message
    return message


def assert_flat(image: np.ndarray, colour: tuple[int, int, int], tolerance: int = 0) -> None:
    assert np.abs(image.astype(int) - colour).max() <= tolerance


# --- Sources and formats


@pytest.mark.parametrize("file_format", LOSSLESS)
@pytest.mark.parametrize("stored", [GREY, COLOUR], ids=["grey", "colour"])
def test_8_bit_pixels_are_unchanged(file_format, stored):
    data = encode(Image.fromarray(stored), file_format, **LOSSLESS[file_format])
    expected = np.stack([stored] * 3, axis=2) if stored.ndim == 2 else stored
    np.testing.assert_array_equal(pixels(data), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_jpeg_shows_what_was_saved(mode, options):
    slope = Image.fromarray((SLOPE * 255).astype(np.uint8)).convert(mode)
    read = pixels(encode(slope, "JPEG", quality=95, **options))
    assert np.abs(read - np.asarray(slope.convert("RGB")).astype(int)).max() < 8


def test_gif_shows_palette_colours():
    stored = np.where(GREY[..., None] < 128, np.uint8((250, 20, 60)), np.uint8((10, 200, 90)))
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(stored), "GIF")), stored)


def test_every_kind_of_source_gives_the_same_pixels(tmp_path):
    path = tmp_path / "slice.png"
    Image.fromarray(COLOUR).save(path)
    with open(path, "rb") as file, Image.open(path) as unloaded:
        for source in (str(path), path, path.read_bytes(), io.BytesIO(path.read_bytes()), file, unloaded):
            np.testing.assert_array_equal(pixels(source), COLOUR)


@pytest.mark.parametrize("wrong", ["slice.jpg", "slice.txt", "slice", "slice.dcm"])
def test_extension_is_not_believed(tmp_path, wrong):
    path = tmp_path / wrong
    path.write_bytes(encode(Image.fromarray(COLOUR), "PNG"))
    np.testing.assert_array_equal(pixels(path), COLOUR)


@pytest.mark.parametrize(
    "content",
    [
        b"Patient notes, no image at all. " * 20,
        b"BMI 23, blood pressure 120 over 80. " * 20,
        b"\x00" * 500,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>",
        encode(Image.fromarray(COLOUR), "PPM"),
        encode(Image.fromarray(COLOUR), "ICO"),
        encode(Image.fromarray(COLOUR), "EPS"),
    ],
    ids=["text", "BM text", "zeros", "PostScript", "PDF", "SVG", "PPM", "ICO", "EPS"],
)
def test_what_is_not_an_accepted_image_is_called_so(tmp_path, content):
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    assert refusal(path).startswith("notes.png is not an image")


# --- Files that cannot be read


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "gone.png")
    assert refusal(str(tmp_path / "gone.png")).startswith("gone.png ")


def test_empty_file(tmp_path):
    path = tmp_path / "nothing.png"
    path.touch()
    assert refusal(path).startswith("nothing.png is empty; export it again")
    assert refusal(b"", "nothing.png") == refusal(io.BytesIO(), "nothing.png") == refusal(path)


def test_folder(tmp_path):
    folder = tmp_path / "slices.png"
    folder.mkdir()
    assert refusal(folder).startswith("slices.png is a folder") and "choose the files in it" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "pipe.png").startswith("pipe.png is not an ordinary file")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no file modes")
def test_forbidden_file(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(Image.fromarray(COLOUR), "PNG"))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65534)
    try:
        assert refusal(path) == "secret.png cannot be read: permission denied."
    finally:
        os.seteuid(user)


def test_path_that_no_system_accepts(tmp_path):
    assert refusal(str(tmp_path / "a\0b.png")).startswith("a?b.png ")
    assert "too long" in refusal(str(tmp_path / ("a" * 5000 + ".png")))


# --- Limits


def test_file_larger_than_the_limit_is_not_read(tmp_path):
    path = tmp_path / "huge.tif"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES * 1000)  # sparse: takes no room, but could not be read into memory
    assert refusal(path).startswith("huge.tif is larger than 50 MB")


def test_stream_and_bytes_larger_than_the_limit():
    data = bytes(MAX_BYTES + 1)
    assert "larger than 50 MB" in refusal(data)
    assert "larger than 50 MB" in refusal(io.BytesIO(data))
    assert "is not an image" in refusal(data[:-1])  # at the limit, the size is no reason


def with_size(data: bytes, offset: int, layout: str, *size: int) -> bytes:
    return data[:offset] + struct.pack(layout, *size) + data[offset + struct.calcsize(layout) :]


def huge_tiff() -> bytes:
    data = encode(Image.new("L", (48, 40)), "TIFF")
    for tag, side in ((256, 48), (257, 40)):
        # The type of the entry becomes LONG: Pillow writes these small sides as SHORT or LONG by version.
        offset = max(data.find(struct.pack("<HHIH", tag, kind, 1, side)) for kind in (3, 4))
        assert offset > 0
        data = with_size(data, offset, "<HHII", tag, 4, 1, 30_000)
    return data


def huge_webp() -> bytes:
    frames = [Image.new("RGBA", (48, 40), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert data[12:16] == b"VP8X"
    return data[:24] + (15_999).to_bytes(3, "little") * 2 + data[30:]


HUGE = {
    "PNG": lambda: black_png(30_000, 30_000),
    "PNG of 100 million": lambda: black_png(10_000, 10_000),
    "GIF": lambda: with_size(encode(Image.new("P", (48, 40)), "GIF"), 6, "<HH", 30_000, 30_000),
    "BMP": lambda: with_size(encode(Image.new("L", (48, 40)), "BMP"), 18, "<ii", 30_000, 30_000),
    "TIFF": huge_tiff,
    "WebP": huge_webp,
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", HUGE)
def test_images_of_too_many_pixels_are_refused(tmp_path, kind):
    path = tmp_path / "huge.img"
    path.write_bytes(HUGE[kind]())
    assert path.stat().st_size < 1_000_000
    assert refusal(path) == "huge.img has more than 40 million pixels; make it smaller first."


def test_pillows_own_warning_is_an_image_error_where_it_raises():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "million pixels" in refusal(black_png(10_000, 10_000))


def test_pixels_are_counted_before_they_are_decoded():
    at_limit, above = (png(8000, height, 1, 0, b"") for height in (5000, 5001))
    assert MAX_PIXELS == 8000 * 5000
    assert "cut short" in refusal(at_limit)
    assert "million pixels" in refusal(above)


def test_pixel_limit_holds_for_images_and_arrays():
    assert "million pixels" in refusal(Image.new("1", (8000, 5001)))
    assert "million pixels" in refusal(np.broadcast_to(np.uint8(0), (30_000, 30_000)))


@pytest.mark.parametrize("width, height", [(MIN_SIDE - 1, 200), (200, MIN_SIDE - 1), (1, 1)])
def test_small_images_are_refused(width, height):
    image = Image.new("L", (width, height))
    for source in (encode(image, "PNG"), image, np.asarray(image)):
        assert refusal(source, "icon.png").startswith(f"icon.png is {width} x {height} pixels")


def test_the_smallest_image_is_read():
    assert read_image(Image.new("L", (MIN_SIDE, MIN_SIDE))).size == (MIN_SIDE, MIN_SIDE)


def test_empty_array_is_refused():
    assert "0 x 0 pixels" in refusal(np.zeros((0, 0, 3), np.uint8))


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_png_whose_metadata_unpack_to_far_more(where, kind):
    bomb = chunk(kind, b"Comment\0\0" + zlib.compress(bytes(30_000_000)))
    rows = zlib.compress(bytes(40 * 41))
    assert "too much metadata" in refusal(png(40, 40, 8, 0, rows, **{where: bomb}), "bomb.png")


# --- Damage


DAMAGEABLE = {
    "PNG": encode(Image.fromarray(COLOUR), "PNG"),
    "JPEG": encode(Image.fromarray(COLOUR), "JPEG"),
    "progressive JPEG": encode(Image.fromarray(COLOUR), "JPEG", progressive=True),
    "TIFF": encode(Image.fromarray(COLOUR), "TIFF"),
    "LZW TIFF": encode(Image.fromarray(COLOUR), "TIFF", compression="tiff_lzw"),
    "GIF": encode(Image.fromarray(COLOUR), "GIF"),
    "WebP": encode(Image.fromarray(COLOUR), "WEBP"),
    "BMP": encode(Image.fromarray(COLOUR), "BMP"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # Pillow's remarks on what is missing
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", DAMAGEABLE)
def test_truncated_file_is_refused(tmp_path, kind, kept):
    data = DAMAGEABLE[kind]
    path = tmp_path / "half.img"
    path.write_bytes(data[: int(kept * len(data))])
    assert refusal(path).startswith("half.img is cut short")


def test_png_with_broken_pixels_is_refused():
    data = bytearray(DAMAGEABLE["PNG"])
    start = data.index(b"IDAT") + 40
    data[start : start + 200] = bytes(200)
    assert "damaged" in refusal(bytes(data))


def test_random_damage_never_escapes_as_another_error():
    rng = np.random.default_rng(3)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in DAMAGEABLE.values():
            for _ in range(40):
                broken = bytearray(data)
                for position in rng.integers(10, 200, 6):
                    broken[position] = rng.integers(256)
                try:
                    assert read_image(bytes(broken)).mode == "RGB"
                except ImageError:
                    refused += 1
    assert refused


# --- Frames, transparency, colour


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
@pytest.mark.parametrize("count", [2, 60])
def test_first_of_several_frames_is_read(file_format, count):
    first = Image.new("RGB", (40, 40), RED)
    others = [Image.new("RGB", (40, 40), (0, 4 * index, 255)) for index in range(count - 1)]
    options = LOSSLESS.get(file_format, {})
    data = encode(first, file_format, save_all=True, append_images=others, **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == count
    assert_flat(pixels(data), RED, tolerance=2 if file_format == "MPO" else 0)


def half_transparent(mode: str) -> Image.Image:
    """White, with opacity from 0 on the left to 255 on the right."""
    opacity = np.tile(np.linspace(0, 255, 52).astype(np.uint8), (40, 1))
    white = np.full((40, 52), 255, np.uint8)
    return Image.fromarray(np.dstack([white, white, white, opacity])).convert(mode)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_black(file_format, mode):
    image = half_transparent(mode)
    expected = np.repeat(np.asarray(image.getchannel("A"))[..., None], 3, axis=2)
    np.testing.assert_array_equal(pixels(encode(image, file_format, **LOSSLESS[file_format])), expected)
    np.testing.assert_array_equal(pixels(image), expected)


def test_opaque_alpha_changes_nothing():
    opaque = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(opaque), "PNG")), COLOUR)


@pytest.mark.parametrize(
    "mode, file_format, left, right, transparency",
    [
        ("P", "PNG", 1, 2, 1),
        ("P", "PNG", 1, 2, b"\xff\x00\xff"),
        ("P", "GIF", 1, 2, 1),
        ("RGB", "PNG", RED, GREEN, RED),
        ("L", "PNG", 200, 100, 200),
        ("1", "PNG", 1, 0, 1),
    ],
    ids=["one of a palette", "opacity per palette entry", "GIF", "one colour", "one grey", "white"],
)
def test_transparent_colour_shows_black(mode, file_format, left, right, transparency):
    image = Image.new(mode, (40, 40), right)
    if mode == "P":
        image.putpalette([*BLUE, *RED, *GREEN])
    image.paste(left, (0, 0, 20, 40))
    read = pixels(encode(image, file_format, transparency=transparency))
    assert_flat(read[:, :20], (0, 0, 0))
    assert_flat(read[:, 20:], {"L": (100, 100, 100), "1": (0, 0, 0)}.get(mode, GREEN))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
@pytest.mark.parametrize("colour", [RED, GREEN, BLUE, (255, 255, 255), (0, 0, 0), (120, 120, 120)])
def test_cmyk_keeps_its_colours(file_format, colour):
    data = encode(Image.new("RGB", (48, 48), colour).convert("CMYK"), file_format)
    assert (b"Adobe" in data) == (file_format == "JPEG")  # such JPEGs store their inks inverted
    assert_flat(pixels(data), colour, tolerance=3)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_1_bit_is_black_and_white(file_format):
    data = encode(Image.fromarray(GREY > 127), file_format)
    np.testing.assert_array_equal(pixels(data)[..., 1], np.where(GREY > 127, 255, 0))


def test_result_carries_no_metadata():
    image = Image.fromarray(COLOUR)
    assert read_image(encode(image, "PNG", icc_profile=b"of another colour space", dpi=(72, 72))).info == {}


# --- Orientation


STORED = {  # how an upright image lies in a file that says `orientation`, as the EXIF standard defines it
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image, -1),
}


def marked(orientation: int) -> tuple[Image.Image, Image.Exif]:
    """An image that upright is 64 wide, 40 high and dark but for its upper left corner."""
    upright = np.full((40, 64), 10, np.uint8)
    upright[:8, :8] = 240
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))), exif


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_applied_once(file_format, orientation):
    image, exif = marked(orientation)
    data = encode(image, file_format, exif=exif)
    for source in (data, Image.open(io.BytesIO(data)), read_image(data)):
        read = pixels(source)
        assert read.shape == (40, 64, 3)
        assert read[:8, :8].min() > 220 and read[8:].max() < 40 and read[:, 8:].max() < 40


@pytest.mark.parametrize("big_endian", [False, True])
def test_orientation_of_deep_pixels(big_endian):
    image, exif = marked(6)
    deep = np.asarray(image).astype(">u2" if big_endian else "<u2") * 10
    read = pixels(encode(Image.fromarray(deep), "TIFF", exif=exif))
    assert read.shape == (40, 64, 3)
    assert read[:8, :8].min() == 255 and read[8:].max() == 0


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_broken_exif_is_no_reason_to_refuse(file_format):
    data = encode(Image.new("RGB", (64, 40), RED), file_format, exif=b"Exif\0\0no directory of tags")
    assert_flat(pixels(data), RED, tolerance=2)


# --- Pixels of more than 8 bits


TWELVE_BITS = (SLOPE * 4095).astype(np.uint16)
DEEP = {
    "PNG": lambda: encode(Image.fromarray(TWELVE_BITS), "PNG"),
    "little-endian TIFF": lambda: encode(Image.fromarray(TWELVE_BITS), "TIFF"),
    "big-endian TIFF": lambda: encode(Image.fromarray(TWELVE_BITS.astype(">u2")), "TIFF"),
    "deflated TIFF": lambda: encode(Image.fromarray(TWELVE_BITS), "TIFF", compression="tiff_adobe_deflate"),
    "int32 TIFF": lambda: encode(Image.fromarray(TWELVE_BITS.astype(np.int32) - 1024), "TIFF"),
    "float TIFF": lambda: encode(Image.fromarray(SLOPE.astype(np.float32) * 0.003 - 7), "TIFF"),
    "I image": lambda: Image.fromarray(TWELVE_BITS.astype(np.int32)),
    "I;16B image": lambda: Image.fromarray(TWELVE_BITS.astype(">u2")),
    "uint16 array": lambda: TWELVE_BITS,
    "int16 array": lambda: TWELVE_BITS.astype(np.int16) - 2000,
    "large uint64 array": lambda: TWELVE_BITS.astype(np.uint64) + 2**40,
    "int64 array": lambda: TWELVE_BITS.astype(np.int64)[..., None] * 2**40,
    "float16 array": lambda: SLOPE.astype(np.float16),
    "float64 array": lambda: SLOPE * 1e-300,
    "array of the largest floats": lambda: ((SLOPE - 0.5) * 6e38).astype(np.float32),
    "strided array": lambda: np.repeat(TWELVE_BITS, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_grey_has_ordinary_contrast(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = pixels(DEEP[kind]())
    assert read.min() == 0 and read.max() == 255
    assert np.abs(read - SLOPE_8_BIT[..., None]).max() <= 2


@pytest.mark.parametrize("hot", [0, 20], ids=["as it is", "with hot pixels"])
def test_deep_slice_is_as_bright_as_its_8_bit_twin(hot):
    twin = np.asarray(mri_slice().convert("L"))
    deep = twin.astype(np.uint16) * 9 + 40
    deep.flat[np.random.default_rng(0).choice(deep.size, hot, replace=False)] = 65535
    ratio = pixels(deep)[..., 0].mean() / (twin - twin.min()).mean() * (twin.max() - twin.min()) / 255
    assert ratio == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("compression", [None, "tiff_adobe_deflate"])
@pytest.mark.parametrize("values", [(SLOPE * 255).astype(np.uint8), TWELVE_BITS], ids=["8 bits", "16 bits"])
def test_tiff_whose_white_is_zero_is_a_positive(values, compression):
    data = encode(Image.fromarray(values), "TIFF", compression=compression, tiffinfo={262: 0})
    stored = Image.open(io.BytesIO(data))
    assert stored.tag_v2[262] == 0
    read = pixels(data)
    # Pillow turns 8-bit pixels both when writing and when reading; deep ones it writes and reads untouched.
    expected = SLOPE * 255 if values.dtype == np.uint8 else 255 - SLOPE_8_BIT
    assert np.abs(read - expected[..., None]).max() <= 2


@pytest.mark.parametrize("hot", [65535, 0])
def test_a_few_hot_or_dead_pixels_leave_the_contrast(hot):
    values = TWELVE_BITS + 1000
    values[::20, ::20] = hot
    read = pixels(values)
    usual = values != hot
    assert np.abs(read[usual] - SLOPE_8_BIT[usual][:, None]).max() <= 4


@pytest.mark.parametrize("make", [lambda v: v, lambda v: encode(Image.fromarray(v), "TIFF")])
def test_float_that_is_not_finite(make):
    values = SLOPE.astype(np.float32)
    values[0, 0], values[10, 10], values[20, 20] = np.inf, np.nan, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = pixels(make(values))
    assert read[0, 0].tolist() == [255] * 3
    assert read[10, 10].tolist() == read[20, 20].tolist() == [0] * 3
    finite = np.isfinite(values)
    assert np.abs(read[finite] - SLOPE_8_BIT[finite][:, None]).max() <= 2


def test_no_finite_value_at_all():
    said = refusal(np.full((40, 40), np.nan), "empty.tif")
    assert "no finite pixel" in said and "export it again" in said


@pytest.mark.parametrize("value", [0, 1000, -5.5])
def test_deep_image_of_one_value_is_black(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_flat(pixels(np.full((40, 40), value).astype(np.float32)), (0, 0, 0))


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.float32])
def test_mask_of_a_few_pixels_is_not_lost(dtype):
    mask = np.zeros((100, 100), dtype)
    mask[50, 50:60] = 1  # nowhere two pixels high
    read = pixels(mask)
    np.testing.assert_array_equal(read[..., 0], np.where(mask, 255, 0))


def test_16_bit_colour_keeps_its_upper_bits():
    values = COLOUR.astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(pixels(deep_colour_png(values)), COLOUR)


def test_16_bit_colour_whose_upper_bits_are_empty_is_not_passed_off_as_black():
    message = refusal(deep_colour_png(COLOUR.astype(np.uint16) * 16), "dark.png")
    assert message.startswith("dark.png uses little of the range of 16-bit colour")
    dark = COLOUR // 8  # with 8 bits per channel, dark is just dark
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(dark), "PNG")), dark)


def test_16_bits_for_all_three_colours_may_be_dark():
    header = struct.pack("<IiiHHIIiiIIIII", 40, 40, 40, 1, 16, 3, 3200, 0, 0, 0, 0, 0xF800, 0x07E0, 0x001F)
    dark_red = struct.pack("<H", 3 << 11) * 1600
    data = b"BM" + struct.pack("<IHHI", 3266, 0, 0, 66) + header + dark_red
    assert_flat(pixels(data), (3 * 255 // 31, 0, 0), tolerance=1)


# --- Arrays and PIL images


@pytest.mark.parametrize("shape", [(48, 40), (48, 40, 1), (48, 40, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_uint8_array_is_kept(shape, order):
    values = RNG.integers(0, 256, shape, dtype=np.uint8)
    expected = np.broadcast_to(values.reshape(48, 40, -1), (48, 40, 3))
    np.testing.assert_array_equal(pixels(np.asarray(values, order=order)), expected)


def test_arrays_with_opacity():
    opacity = np.tile(np.linspace(0, 1, 40), (48, 1))
    white = np.ones((48, 40, 3))
    white[0, 0] = 0  # something for the window to span
    rgba = np.dstack([white, opacity])
    expected = np.rint(opacity * 255)[1:, :, None]
    in_16_bits, in_8_bits = np.rint(rgba * 65535).astype(np.uint16), np.rint(rgba * 255).astype(np.uint8)
    for values in (rgba, rgba.astype(np.float32), in_16_bits, in_8_bits):
        assert np.abs(pixels(values)[1:] - expected).max() <= 1


def test_deep_colour_array_keeps_its_hue():
    values = np.zeros((64, 64, 3), np.uint16)
    values[..., 0] = TWELVE_BITS
    values[..., 1] = TWELVE_BITS // 2
    read = pixels(values).astype(int)
    assert read[..., 0].max() == 255 and read[..., 2].max() == 0
    middle = read[32, 32]
    assert abs(middle[0] - 2 * middle[1]) <= 3


@pytest.mark.parametrize("shape", [(), (100,), (40, 40, 2), (3, 40, 40), (40, 40, 5), (1, 40, 40, 3)])
def test_array_of_another_shape_is_refused_by_shape(shape):
    message = refusal(np.zeros(shape, np.uint8), "volume")
    assert message.startswith(f"volume has the shape {shape}")


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_array_of_another_type_is_refused(dtype):
    assert "real numbers" in refusal(np.zeros((40, 40), dtype))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_source_and_result_share_nothing(mode):
    image = Image.new(mode, (40, 40), "white")
    array = np.array(image)
    from_image, from_array = read_image(image), read_image(array)
    image.paste("black", (0, 0, 40, 40))
    array[:] = 0
    assert_flat(np.asarray(from_image), (255, 255, 255))
    assert_flat(np.asarray(from_array), (255, 255, 255))


def test_source_is_not_changed():
    image, exif = marked(6)
    image = Image.open(io.BytesIO(encode(image, "PNG", exif=exif)))
    values = SLOPE.copy()
    read_image(image)
    read_image(values)
    assert image.size == (40, 64) and image.getexif()[0x0112] == 6
    np.testing.assert_array_equal(values, SLOPE)


@pytest.mark.parametrize("mode", ["P", "PA", "YCbCr", "HSV", "LAB", "CMYK", "RGBX", "RGBa"])
def test_unusual_modes_of_pil_images_are_converted(mode):
    assert read_image(Image.new(mode, (40, 40))).mode == "RGB"


# --- Names in errors


@pytest.mark.parametrize(
    "given, shown",
    [
        ("/srv/uploads/3f2a/scan.png", "scan.png"),
        ("C:\\Users\\someone\\scan.png", "scan.png"),
        ("two\nlines\x1b[31m.png", "two?lines?[31m.png"),
        ("Schädel 1.png", "Schädel 1.png"),
        ("half a surrogate \udc80.png", "half a surrogate ?.png"),
        ("", "the image"),
        ("/", "the image"),
    ],
)
def test_errors_show_the_base_name(given, shown):
    assert refusal(b"", given).startswith(f"{shown} is empty; ")


def test_errors_name_the_source_by_itself(tmp_path):
    path = tmp_path / "small.png"
    Image.new("L", (5, 5)).save(path)
    with open(path, "rb") as file, Image.open(path) as image:
        for source in (str(path), path, file, image):
            assert refusal(source).startswith("small.png is 5 x 5")
            file.seek(0)
            assert refusal(source, "upload/1.png").startswith("1.png is 5 x 5")


@pytest.mark.parametrize("source", [b"", io.BytesIO(), np.zeros((5, 5)), Image.new("L", (5, 5))])
def test_errors_without_a_name(source):
    assert refusal(source).startswith("the image is ")


# --- The program around it


def test_pillows_settings_are_left_alone():
    read_image(COLOUR)
    refusal(DAMAGEABLE["JPEG"][:700])
    refusal(black_png(30_000, 30_000))
    assert Image.MAX_IMAGE_PIXELS == 89_478_485
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_no_file_is_left_behind_or_open(tmp_path):
    path = tmp_path / "slice.png"
    Image.fromarray(COLOUR).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        read_image(path)
    assert list(Path(tmp_path).iterdir()) == [path]


def test_threads_get_their_own_image():
    files = [encode(Image.new("RGB", (40, 40), (shade, 0, 0)), "PNG") for shade in range(100)]
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(pixels, files))
    for shade, image in enumerate(images):
        assert_flat(image, (shade, 0, 0))
