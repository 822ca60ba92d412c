"""Every odd picture is read as a person sees it; every bad file is one named error with a sentence."""

import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hostile import chunk, png, swapped_profile
from PIL import Image, ImageCms, TiffImagePlugin

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


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_fewer_bits_in_16_are_not_black(bits, kind):
    """The largest value says how many bits a camera uses of the 16."""
    shares = np.linspace(0, 1, 64).reshape(8, 8)
    values = np.round(shares * (2**bits - 1)).astype(np.uint16)
    grey = pixels(read_image(encode(Image.fromarray(values), kind)))[..., 0]
    assert np.abs(grey - shares * 255).max() <= 1


def test_a_tiff_that_states_its_range_is_scaled_by_it():
    values = np.full((8, 8), 1000, np.uint16)  # by the values alone, of 10 bits
    data = encode(Image.fromarray(values), "TIFF", tiffinfo={281: 4000})
    assert (pixels(read_image(data)) == 64).all()
    too_small = encode(Image.fromarray(values), "TIFF", tiffinfo={281: 100})
    assert (pixels(read_image(too_small)) == round(1000 / 1023 * 255)).all()


def colour_png(values: np.ndarray) -> bytes:
    """A PNG of 16-bit colours, which Pillow does not write."""
    height, width, bands = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = chunk(b"IDAT", zlib.compress(rows))
    return png(size=(width, height), depth=16, colour={3: 2, 4: 6}[bands], content=content)


def colour_tiff(values: np.ndarray, order: str, compression: int) -> bytes:
    """A TIFF of 16-bit colours in one strip, plain (1) or deflated (8), little (<) or big (>) end first."""
    height, width, _ = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compression == 8 else data
    depths = 8 + 2 + 9 * 12 + 4
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, depths), (259, 4, 1, compression), (262, 4, 1, 2),
               (273, 4, 1, depths + 6), (277, 4, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data))]  # fmt: skip
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(struct.pack(f"{order}HHLL", *entry) for entry in entries)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8)
    return start + directory + struct.pack(f"{order}LHHH", 0, 16, 16, 16) + data


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colours_of_fewer_bits_in_16_are_not_black(cell, bits):
    values = np.round(pixels(cell) / 255 * (2**bits - 1)).astype(np.uint16)
    clear = np.dstack([values, np.full(values.shape[:2], 65_535)])
    tiffs = [colour_tiff(values, order, compression) for order in "<>" for compression in (1, 8)]
    for data in (colour_png(values), colour_png(clear), *tiffs):
        assert np.abs(pixels(read_image(data)) - pixels(cell)).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_a_colour_profile_is_applied(cell, mode):
    picture = cell.quantize(16) if mode == "P" else cell.convert(mode)
    red, green, blue = picture.convert("RGB").split()
    swapped = Image.merge("RGB", (blue, green, red))
    found = pixels(read_image(encode(picture, icc_profile=swapped_profile())))
    assert np.abs(found - pixels(swapped)).max() <= 4
    assert np.abs(found - pixels(picture.convert("RGB"))).max() > 40


def test_a_colour_profile_leaves_transparent_white(cell):
    clear = cell.copy()
    clear.putalpha(0)
    assert (pixels(read_image(encode(clear, icc_profile=swapped_profile()))) == 255).all()


def test_a_profile_of_srgb_changes_no_pixel(cell):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels(read_image(encode(cell, icc_profile=profile))), pixels(cell))


@pytest.mark.parametrize("profile", [b"no profile", swapped_profile()[:300], swapped_profile() + bytes(2_000_000)])
def test_a_broken_or_huge_profile_is_ignored(cell, profile):
    assert np.array_equal(pixels(read_image(encode(cell, "TIFF", icc_profile=profile))), pixels(cell))


def test_a_profile_of_other_colours_is_ignored(cell):
    grey = cell.convert("CMYK")
    data = encode(grey, "TIFF", icc_profile=swapped_profile())
    assert np.array_equal(pixels(read_image(data)), pixels(grey.convert("RGB")))


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


def whole_slide(cell: Image.Image) -> bytes:
    """The same picture at two sizes, in tiles."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for side in (256, 128):
            file.write(np.asarray(cell.resize((side, side))), tile=(64, 64), photometric="rgb")
    return buffer.getvalue()


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
        (whole_slide, "picture_whole_slide", "export the fields"),
        (lambda cell: encode(Image.new("1", (10_000, 5_001))), "picture_too_large", "50 million"),
        (lambda cell: encode(Image.new("1", (30_000, 30_000))), "picture_far_too_large", "50 million"),
    ],
    ids=["empty", "text", "pdf", "svg", "cut png", "cut jpeg", "animation", "whole slide", "over 50 megapixels", "bomb"],
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


# --- Pillow stays as it is for everybody else ---


def tiff_of_many_numbers() -> bytes:
    """More numbers than our own reading allows in a directory."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[65_000] = (7,) * 700_000
    info.tagtype[65_000] = 4
    return encode(Image.new("L", (8, 8)), "TIFF", tiffinfo=info)


def test_importing_cells_changes_nothing_of_pillow():
    code = """
import warnings
from PIL import Image, TiffImagePlugin
before = TiffImagePlugin.ImageFileDirectory_v2.load, Image.Exif.load, Image._decompression_bomb_check, list(warnings.filters)
import cells.read.images, cells.read.archive, cells.model.classifier, cells.__main__
after = TiffImagePlugin.ImageFileDirectory_v2.load, Image.Exif.load, Image._decompression_bomb_check
assert after == before[:3]
assert not [one for one in warnings.filters if one[2] is Image.DecompressionBombWarning]
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).resolve().parent.parent, check=True)


def test_pillow_reads_for_others_as_without_us(cell):
    data = tiff_of_many_numbers()
    read_image(encode(cell, "TIFF"))
    with pytest.raises(images.ImageError):
        read_image(data)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert len(image.tag_v2[65_000]) == 700_000
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(png(size=(10_000, 9_000), depth=1, colour=0)))


def test_another_thread_is_not_bounded_while_we_read(cell, monkeypatch):
    data, errors = tiff_of_many_numbers(), []

    def beside() -> None:
        try:
            Image.open(io.BytesIO(data)).load()
        except Exception as error:
            errors.append(error)

    def decode(image: Image.Image, budget: object) -> Image.Image:
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        return image

    monkeypatch.setattr(images, "to_rgb", decode)
    read_image(encode(cell, "TIFF"))
    assert not errors


def test_a_large_picture_of_ours_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(images.ImageError, match="50 million"):
            read_image(encode(Image.new("1", (10_000, 9_000))))


def test_the_file_of_a_slide_scanner_is_refused_by_its_name(tmp_path):
    (tmp_path / "slide.SVS").write_bytes(b"II*")
    with pytest.raises(images.ImageError, match="whole slide; export the fields"):
        read_image(tmp_path / "slide.SVS")
    with pytest.raises(images.ImageError, match="no such file"):
        read_image(tmp_path / "other.svs")
