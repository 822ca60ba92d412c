"""Every odd picture is read as a person sees it; every bad file is one named error with a sentence."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from cells.read import images
from cells.read.images import read_image
from cells.synthetic import draw_cell


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.fixture
def cell() -> Image.Image:
    return draw_cell("neutrophil").resize((60, 40))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(cell, kind):
    assert np.array_equal(pixels(read_image(encode(cell, kind))), pixels(cell))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000", "AVIF"])
def test_lossy_formats_look_the_same(cell, kind):
    assert np.abs(pixels(read_image(encode(cell, kind))) - pixels(cell)).mean() < 8


def test_grey_becomes_rgb(cell):
    grey = cell.convert("L")
    assert np.array_equal(pixels(read_image(encode(grey))), pixels(grey.convert("RGB")))


def test_palette_keeps_its_colours(cell):
    palette = cell.quantize(16)
    assert np.array_equal(pixels(read_image(encode(palette))), pixels(palette.convert("RGB")))


def test_transparent_is_white(cell):
    clear = cell.copy()
    clear.putalpha(0)
    assert (pixels(read_image(encode(clear))) == 255).all()
    assert np.array_equal(pixels(read_image(encode(cell.convert("RGBA")))), pixels(cell))


def test_transparent_palette_entry_is_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    assert (pixels(read_image(encode(image, transparency=0))) == 255).all()


def test_16_bit_is_scaled_not_clipped():
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    expected = np.round(values / 257)
    for kind in ("PNG", "TIFF"):
        assert np.abs(pixels(read_image(encode(Image.fromarray(values), kind)))[..., 0] - expected).max() <= 1


def test_float_is_scaled_by_its_own_range():
    values = np.linspace(-1, 3, 64).reshape(8, 8).astype(np.float32)
    grey = pixels(read_image(encode(Image.fromarray(values), "TIFF")))[..., 0]
    assert (grey.min(), grey.max()) == (0, 255)


def test_a_telephones_jpeg_with_a_second_picture_is_read(cell):
    data = encode(cell, "MPO", save_all=True, append_images=[cell.resize((8, 8))])
    assert np.abs(pixels(read_image(data)) - pixels(cell)).mean() < 8


def test_a_picture_of_no_numbers_is_refused():
    with pytest.raises(images.ImageError) as caught:
        read_image(encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))
    assert caught.value.code == "picture_broken"


def test_cmyk_becomes_rgb(cell):
    assert np.abs(pixels(read_image(encode(cell.convert("CMYK"), "TIFF"))) - pixels(cell)).mean() < 4


def test_exif_rotation_is_applied(cell):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    assert np.array_equal(pixels(read_image(encode(cell, exif=exif))), pixels(cell.rotate(-90, expand=True)))


def test_a_path_is_read(cell, tmp_path):
    path = tmp_path / "picture with no ending"
    path.write_bytes(encode(cell))
    assert np.array_equal(pixels(read_image(path)), pixels(cell))


def animation(cell: Image.Image) -> bytes:
    return encode(cell, "GIF", save_all=True, append_images=[cell.rotate(90)])


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda cell: b"", "file_empty", "empty"),
        (lambda cell: b"GIF, as if", "picture_unknown", "not a picture"),
        (lambda cell: b"%PDF-1.7 ...", "picture_unknown", "not a picture"),
        (lambda cell: b"<svg onload='alert(1)'/>", "picture_unknown", "not a picture"),
        (lambda cell: encode(cell)[:500], "picture_broken", "damaged"),
        (lambda cell: encode(cell, "JPEG")[:600], "picture_broken", "damaged"),
        (animation, "picture_several", "several pictures"),
        (lambda cell: encode(Image.new("1", (10_000, 5_001))), "picture_too_large", "50 million"),
        (lambda cell: encode(Image.new("1", (30_000, 30_000))), "picture_far_too_large", "50 million"),
    ],
    ids=["empty", "text", "pdf", "svg", "cut png", "cut jpeg", "animation", "over 50 megapixels", "bomb"],
)
def test_bad_bytes_are_a_named_error(cell, make, code, words):
    with pytest.raises(images.ImageError, match=words) as caught:
        read_image(make(cell))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_missing_and_folder(tmp_path):
    with pytest.raises(images.ImageError, match="no such file") as caught:
        read_image(tmp_path / "nothing.png")
    assert caught.value.code == "file_missing"
    with pytest.raises(images.ImageError, match="folder") as caught:
        read_image(tmp_path)
    assert caught.value.code == "file_is_folder"


def test_no_permission(cell, tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(encode(cell))
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: let the system answer as it would to others

        def refuse(self):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(images.ImageError, match="permission denied") as caught:
        read_image(path)
    assert caught.value.code == "file_denied"
