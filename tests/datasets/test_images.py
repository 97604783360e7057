import contextlib
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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


def png_header_of(width, height):
    """A PNG that says it is so large, and holds nothing."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    made = (struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b)) for t, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def test_a_colour_png_keeps_every_pixel():
    content = drawn(0, "RGB", (7, 4))
    assert (pixels(content) == np.asarray(Image.open(BytesIO(content)))).all()
    assert not decode(BytesIO(content)).grey


def test_a_jpeg_is_decoded():
    picture = decode(BytesIO(drawn(0, "RGB", (9, 8), "JPEG")))
    assert (picture.height, picture.width, picture.grey) == (8, 9, False)


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


def test_a_palette_becomes_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert pixels(encoded(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_sixteen_bits_keep_the_higher_eight():
    values = np.array([[0x0000, 0x12FF, 0xFFFF]], dtype=np.uint16)
    assert pixels(encoded(Image.fromarray(values)))[0, :, 0].tolist() == [0x00, 0x12, 0xFF]


def test_an_image_on_its_side_is_turned_upright():
    image = Image.new("RGB", (16, 8), "white")
    image.paste("black", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    upright = pixels(encoded(image, "JPEG", exif=exif, quality=95))
    assert upright.shape == (16, 8, 3)
    assert upright[2, 4].max() < 30  # what was on the left is on top
    assert upright[13, 4].min() > 225


def test_resizing_gives_a_square():
    assert pixels(drawn(0, "RGB", (40, 10)), 8).shape == (8, 8, 3)


def test_an_image_of_four_hundred_million_pixels_is_refused_by_its_header():
    with pytest.raises(UnreadableImageError, match=r"400000000 pixels.*allowed: 64,000,000"):
        decode(BytesIO(png_header_of(20_000, 20_000)))
    with pytest.raises(UnreadableImageError, match=r"9,000 x 9,000 pixels \(allowed: 64,000,000 in all\)"):
        decode(BytesIO(png_header_of(9_000, 9_000)))


def test_a_jpeg_of_thousands_of_scans_is_refused():
    content = encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    for times in (0, 900):
        assert pixels(content[:end] + content[last:end] * times + content[end:]).shape == (8, 8, 3)
    with pytest.raises(UnreadableImageError, match=r"a JPEG of 2,\d+ scans \(allowed: 1,000\)"):
        pixels(content[:end] + content[last:end] * 2000 + content[end:])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_image_is_refused(kind):
    content = drawn(0, "RGB", (64, 64), kind)
    with pytest.raises(UnreadableImageError, match="broken"):
        decode(BytesIO(content[: len(content) // 2]))


@pytest.mark.parametrize("content", [b"", b"plain text", b"GIF89a"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(UnreadableImageError, match="neither PNG nor JPEG"):
        decode(BytesIO(content))


def test_another_format_under_the_name_of_a_png_is_refused():
    with pytest.raises(UnreadableImageError, match="neither PNG nor JPEG"):
        decode(BytesIO(drawn(0, "RGB", (4, 4), "BMP")))


@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG"]))
@settings(max_examples=200, deadline=None)
def test_an_image_with_bytes_changed_is_decoded_or_refused_and_nothing_else(data, kind):
    content = bytearray(drawn(1, "RGB", (12, 12), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnreadableImageError):
        picture = decode(BytesIO(bytes(content)))
        assert len(picture.rgb) == picture.height * picture.width * 3
        assert picture.height * picture.width <= images.MAX_PIXELS
