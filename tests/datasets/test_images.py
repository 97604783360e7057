import contextlib
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from convtrack.datasets import images
from convtrack.datasets.images import UnreadableImageError, decode

from .samples import drawn


def pixels(content, size=None):
    """Decoded, as an array of shape (height, width, 3)."""
    picture = decode(BytesIO(content), size)
    return np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(width, height, bits, colour, content, key=()):
    """A PNG with this header and content; `key`: what is transparent."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    chunks += [(b"tRNS", struct.pack(f">{len(key)}H", *key))] if key else []
    chunks += [(b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    made = (struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b)) for t, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def png(bits, colour, *values, key=()):
    """A PNG of one row of 16- or 8-bit `values`, or one byte of several shades; `key`: what is transparent."""
    row = struct.pack(f">{len(values)}{'H' if bits == 16 else 'B'}", *values)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    return png_of(len(row) * 8 // (bits * channels), 1, bits, colour, b"\0" + row, key)


WHITE = [255] * 3


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_images_are_known_as_grey_and_have_equal_channels(mode):
    content = drawn(0, mode)
    assert decode(BytesIO(content)).grey
    rgb = pixels(content)
    assert (rgb[..., 0] == rgb[..., 1]).all()
    assert (rgb[..., 0] == rgb[..., 2]).all()


def test_transparent_pixels_lie_on_white():
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (9, 9, 9, 0))
    assert pixels(encoded(image)).tolist() == [[[200, 0, 0], [255, 255, 255]]]
    assert pixels(encoded(image.quantize(4))).tolist()[0][1] == [255, 255, 255]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(1, 0, 0b01000000, key=[1]), [[0] * 3, WHITE, *[[0] * 3] * 6]),
        (png(2, 0, 0b00011011, key=[1]), [[0] * 3, WHITE, [170] * 3, WHITE]),
        (png(4, 0, 0x5A, key=[5]), [WHITE, [170] * 3]),
        (png(8, 0, 5, 128, key=[5]), [WHITE, [128] * 3]),
        (png(8, 0, 5, 128, key=[0x0105]), [WHITE, [128] * 3]),  # only as many bits count as a pixel has
        (png(16, 0, 0x1234, 0x1235, 0x1334, key=[0x1234]), [WHITE, [0x12] * 3, [0x13] * 3]),
        (png(16, 4, 0x8000, 0, 0x1234, 0xFFFF), [WHITE, [0x12] * 3]),
    ],
    ids=["1 bit", "2 bits", "4 bits", "8 bits", "8 of 16 bits", "16 bits", "16 bits and alpha"],
)
def test_grey_with_transparency_lies_on_white_and_is_grey(content, expected):
    assert pixels(content)[0].tolist() == expected
    assert decode(BytesIO(content)).grey


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(8, 2, 1, 2, 3, 1, 2, 4, key=[1, 2, 3]), [WHITE, [1, 2, 4]]),
        (png(16, 2, 0x101, 0x202, 0x303, 0x101, 0x202, 0x304, key=[0x101, 0x202, 0x303]), [WHITE, [1, 2, 3]]),
        (png(16, 6, 0x102, 0x203, 0x304, 0, 0x102, 0x203, 0x304, 0xFFFF), [WHITE, [1, 2, 3]]),
    ],
    ids=["8 bits", "16 bits", "16 bits and alpha"],
)
def test_colours_with_transparency_lie_on_white_by_all_their_bits(content, expected):
    assert pixels(content)[0].tolist() == expected
    assert not decode(BytesIO(content)).grey


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("LA", "TIFF"), ("PA", "TIFF"), ("RGBA", "TIFF"), ("RGBA", "WEBP"), ("RGBA", "GIF"), ("LA", "PNG"), ("P", "PNG")],
)
def test_transparency_of_every_format_lies_on_white(mode, kind):
    image = Image.new("RGBA", (2, 1), (30, 30, 30, 255))
    image.putpixel((1, 0), (9, 9, 9, 0))
    image = image.quantize(2) if mode == "P" else image.convert(mode)
    assert pixels(encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {})))[0].tolist() == [
        [30] * 3,
        WHITE,
    ]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_format_without_loss_keeps_every_pixel(kind):
    image = Image.open(BytesIO(drawn(3, "RGB", (16, 9)))).quantize(16).convert("RGB")
    content = encoded(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert (pixels(content) == np.asarray(image)).all()
    assert not decode(BytesIO(content)).grey


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_pictures_is_taken(kind):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(pixels(content).astype(int) - [255, 0, 0]).max() < 4


@pytest.mark.parametrize("compression", ["raw", "tiff_deflate"])
def test_sixteen_bits_keep_the_higher_eight_and_white_stays_white(compression):
    image = Image.fromarray(np.array([[0x0000, 0x12FF, 0xFFFF]], dtype=np.uint16))
    assert pixels(encoded(image, "PNG"))[0, :, 0].tolist() == [0x00, 0x12, 0xFF]
    content = bytearray(encoded(image, "TIFF", compression=compression))
    assert pixels(content)[0, :, 0].tolist() == [0x00, 0x12, 0xFF]
    photometric = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    content[photometric] = 0  # zero is white
    assert pixels(content)[0, :, 0].tolist() == [0xFF, 0xED, 0x00]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_white_are_refused(mode):
    with pytest.raises(UnreadableImageError, match="32-bit or floating-point"):
        decode(BytesIO(encoded(Image.new(mode, (2, 2)), "TIFF")))


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_an_image_on_its_side_is_turned_upright():
    image = Image.new("RGB", (16, 8), "white")
    image.paste("black", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    for content in (encoded(image, "TIFF", tiffinfo={0x0112: 6}), encoded(image, "JPEG", exif=exif, quality=95)):
        upright = pixels(content)
        assert upright.shape == (16, 8, 3)
        assert upright[2, 4].max() < 30  # what was on the left is on top
        assert upright[13, 4].min() > 225
    # a rational in the field of an integer, which Pillow reads and refuses to write
    exif[0x011A] = 72.0
    whole = encoded(image, "JPEG", exif=exif, quality=95)
    damaged = whole.replace(b"\x01\x1a\x00\x05", b"\x01\x07\x00\x05")
    assert damaged != whole
    with pytest.raises(Exception, match="not an integer"):
        ImageOps.exif_transpose(Image.open(BytesIO(damaged)))
    assert (pixels(damaged) == upright).all()


def test_resizing_gives_a_square():
    assert pixels(drawn(0, "RGB", (40, 10)), (8, 8)).shape == (8, 8, 3)


def test_an_image_of_four_hundred_million_pixels_is_refused_by_its_header():
    with pytest.raises(UnreadableImageError, match=r"^400,000,000 pixels \(allowed: 64,000,000\)"):
        decode(BytesIO(png_of(20_000, 20_000, 8, 2, b"")))
    with pytest.raises(UnreadableImageError, match=r"9,000 x 9,000 pixels \(allowed: 64,000,000 in all\)"):
        decode(BytesIO(png_of(9_000, 9_000, 8, 2, b"")))


def test_a_jpeg_of_thousands_of_scans_is_refused():
    content = encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    for times in (0, 900):
        assert pixels(content[:end] + content[last:end] * times + content[end:]).shape == (8, 8, 3)
    with pytest.raises(UnreadableImageError, match=r"a JPEG of 2,\d+ scans \(allowed: 1,000\)"):
        pixels(content[:end] + content[last:end] * 2000 + content[end:])


def tiled_tiff(width, height, tile):
    """A black, deflated TIFF in tiles of `tile` pixels each way, all of which are the same bytes."""
    packed = zlib.compress(bytes(min(tile, 2**10) ** 2))
    count = (-(-width // tile)) * (-(-height // tile))
    offsets, lengths = 8 + len(packed), 8 + len(packed) + 4 * count
    one = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile}
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in one.items()]
    for tag, place, value in ((324, offsets, 8), (325, lengths, len(packed))):
        tags.append(struct.pack("<HHII", tag, 4, count, place if count > 1 else value))
    arrays = struct.pack(f"<{count}I", *[8] * count) + struct.pack(f"<{count}I", *[len(packed)] * count)
    directory = struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, lengths + 4 * count) + packed + arrays + directory


@pytest.mark.parametrize(
    ("size", "tile", "in_tiles"), [((64, 64), 50_000, "2,500,000,000"), ((100_000, 1), 1024, "102,760,448")]
)
def test_a_tiff_of_few_pixels_in_huge_tiles_is_refused(size, tile, in_tiles, monkeypatch):
    assert not pixels(tiled_tiff(100, 50, 16)).any()
    assert pixels(tiled_tiff(100, 50, 16)).shape == (50, 100, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 50_000_000)
    with pytest.raises(UnreadableImageError, match=rf"{in_tiles} pixels in its tiles \(allowed: 100,000,000\)"):
        decode(BytesIO(tiled_tiff(size[0], size[1], tile)))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_more_pixels_than_are_allowed_are_refused_in_every_format(kind, monkeypatch):
    content = encoded(Image.new("L", (40, 30)), kind)
    assert pixels(content).shape == (30, 40, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 1199)
    with pytest.raises(UnreadableImageError, match=r"40 x 30 pixels \(allowed: 1,199 in all\)"):
        decode(BytesIO(content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_truncated_image_is_refused(kind):
    content = drawn(0, "RGB", (64, 64), kind)
    with pytest.raises(UnreadableImageError, match=r"broken|no PNG"):
        decode(BytesIO(content[: len(content) // 2]))


@pytest.mark.parametrize("content", [b"", b"plain text", b"GIF89a"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(UnreadableImageError, match="not a PNG, JPEG, WebP, BMP, GIF or TIFF file"):
        decode(BytesIO(content))


@pytest.mark.parametrize("kind", ["PPM", "ICO", "EPS", "JPEG2000", "AVIF"])
def test_another_format_under_the_name_of_a_png_is_refused(kind):
    with pytest.raises(UnreadableImageError, match="not a PNG, JPEG, WebP, BMP, GIF or TIFF file"):
        decode(BytesIO(drawn(0, "RGB", (16, 16), kind)))


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it went on in spite of
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"]))
@settings(max_examples=50)
def test_an_image_with_bytes_changed_is_decoded_or_refused_and_nothing_else(data, kind):
    content = bytearray(drawn(1, "RGB", (12, 12), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableImageError):
        picture = decode(BytesIO(bytes(content)))
        assert len(picture.rgb) == picture.height * picture.width * 3
        assert picture.height * picture.width <= images.MAX_PIXELS
