"""Bad and odd files, made on the spot: what strangers and broken disks send. None is ever stored.

python -m tests.hostile [WORDS [SECONDS]]   # of each kind whose name has these words: what became of it, and what it cost

SECONDS stands in for limits.FILE_SECONDS, to be done sooner. Each kind is classified as the page does it, in a process of its
own that may write nothing.
"""

import contextlib
import functools
import gc
import io
import json
import os
import resource
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from cells.read import limits
from cells.read.images import FORMATS
from cells.synthetic import draw_cell

ANSWER = ""  # in place of an error's words: the picture was read
DAMAGED, UNKNOWN, SEVERAL, PIXELS = "damaged", "not a picture", "several pictures", "million are allowed"
BROKEN_ZIP, COMPRESSION, SLOW = "The ZIP is damaged", "another method than deflate", "s to read"
MOST_SECONDS, MOST_MEGABYTES = 5, 500  # of a processor, and above what a plain picture costs
STOPPED_AT = 60  # seconds of a processor, after which a kind is a hang


class Kind(NamedTuple):
    """A file: its name, how its bytes are made, and the words of the message of each of its rows, or of the one for all."""

    file: str
    make: Callable[[], bytes]
    rows: list[str] | str


def fits(message: str, words: str) -> bool:
    """Whether a message has one of the words, which `|` parts; ANSWER fits only where there is none."""
    return any(one in message if one else not message for one in words.split("|"))


class Outcome(NamedTuple):
    """The messages of a kind's rows, or that for all; megabytes and seconds; whether a file appeared or vanished."""

    rows: list[str] | str
    megabytes: float
    seconds: float
    is_clean: bool


# --- pictures ---


@functools.cache
def cell() -> Image.Image:
    return draw_cell("neutrophil").resize((60, 40))


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def half(kind: str) -> bytes:
    data = encode(cell(), kind)
    return data[: len(data) // 2]


def in_some_mode(kind: str) -> bytes:
    """A picture in a format of Pillow's, in the first mode that it takes."""
    for mode in ("RGB", "L", "P", "1", "F"):
        for size in ((60, 40), (16, 16), (256, 256)):
            with contextlib.suppress(Exception):
                return encode(cell().resize(size).convert(mode), kind)
    return b""


def written_formats() -> dict[str, Kind]:
    """Whatever Pillow writes; what is not read here is said to be no picture."""
    Image.init()
    kinds = {}
    for name in sorted({**Image.SAVE, "J2K": None, "MPO": None}):
        make = functools.partial(in_some_mode, name)
        if make():
            kinds[f"format {name}"] = Kind("a.png", make, [ANSWER if name in (*FORMATS, "MPO") else UNKNOWN])
    return kinds


MARKS = {
    **{"Photoshop": b"8BPS\0\1", "FLI": b"\0\0\0\0\x11\xaf", "FITS": b"SIMPLE  =", "Sun raster": b"\x59\xa6\x6a\x95"},
    **{"WMF": b"\xd7\xcd\xc6\x9a", "XPM": b"/* XPM */", "QOI": b"qoif", "cursor": b"\0\0\2\0\1\0", "RAR": b"Rar!\x1a\7\0"},
    **{"HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n", "DICOM": bytes(128) + b"DICM"},
    **{
        "program": b"MZ\x90\0",
        "pickle": b"\x80\4\x95",
        "GZIP": b"\x1f\x8b\x08",
        "MPEG": b"\0\0\1\xb3",
        "OLE": b"\xd0\xcf\x11\xe0",
    },
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "PDF": b"%PDF-1.7\n1 0 obj <</OpenAction <</S/JavaScript/JS(app.alert(1))>>>>",
    "SVG with a script": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(2)</script></svg>",
    "HTML with a script": b"<!doctype html><script>alert(1)</script><img src=x onerror=alert(2)>",
    "XML of entities": b"<!DOCTYPE a [<!ENTITY b 'ha'><!ENTITY c '&b;&b;&b;'>]><svg>&c;</svg>",
    **{"zeros": bytes(5000), "noise": np.random.default_rng(0).bytes(5000), "text": b"GIF, as if"},
}
BEGINNINGS = {
    **{"JPEG": b"\xff\xd8\xff\xe0", "PNG": b"\x89PNG\r\n\x1a\n", "GIF": b"GIF89a", "TIFF": b"II*\0\x08\0\0\0", "BMP": b"BM"},
    **{"WebP": b"RIFF\x88\x13\0\0WEBPVP8 ", "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0", "PPM": b"P6 60 40 255\n"},
    **{"JPEG 2000": b"\xff\x4f\xff\x51", "BigTIFF": b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"},
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (8, 8), depth: int = 8, colour: int = 2, content: bytes | None = None) -> bytes:
    """A black picture with chunks before its content."""
    width, height = size
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + width * bits // 8)) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    content = chunk(b"IDAT", rows) if content is None else content
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + content + chunk(b"IEND", b"")


def lying_png(width: int, height: int, bytes_of_content: int = 100) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(bytes(bytes_of_content)))
    return b"\x89PNG\r\n\x1a\n" + header + content + chunk(b"IEND", b"")


def bomb() -> bytes:
    return zlib.compress(bytes(100_000_000))


def apng(frames: int, control: int) -> bytes:
    """An animation of so many frames, which says of itself that it has others."""
    frame = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)
    later = (chunk(b"fcTL", frame) + chunk(b"fdAT", bytes(4) + zlib.compress(bytes(200))) for _ in range(frames - 1))
    content = chunk(b"IDAT", zlib.compress(bytes(200))) + b"".join(later)
    return png(chunk(b"acTL", struct.pack(">II", control, 0)), chunk(b"fcTL", frame), content=content)


def segment(mark: int, data: bytes) -> bytes:
    return b"\xff" + bytes([mark]) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments: bytes, mode: str = "RGB", **options) -> bytes:
    """A picture with segments before its own."""
    data = encode(cell().convert(mode), "JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def exif(*entries: tuple[int, int, int, int], following: int = 0, tail: bytes = b"") -> bytes:
    return b"Exif\0\0" + tiff(*entries, following=following, tail=tail)


def many_scans(scans: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG of one colour that goes over all its pixels again and again."""
    data = encode(Image.new("L", size), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + data[-2:]


def tiff(*entries: tuple[int, int, int, int], following: int = 0, tail: bytes = b"") -> bytes:
    """A directory of (tag, type, count, value or where it stands), where the next one is, and what follows."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", *one) for one in entries)
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<L", following) + tail


def small_tiff(*others: tuple[int, int, int, int], size: tuple[int, int] = (4, 4), **options) -> bytes:
    """A grey picture in one strip, which is read from its own header, with other entries."""
    plain = ((256, 4, 1, size[0]), (257, 4, 1, size[1]), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
    own = {
        one[0]: one
        for one in (*plain, (277, 3, 1, 1), (278, 4, 1, size[1]), (279, 4, 1, min(size[0] * size[1], 2**32 - 1)), *others)
    }
    return tiff(*sorted(own.values()), **options)


def many_strips(count: int) -> bytes:
    """A picture in so many strips, all of them the same bytes."""
    at = 8 + 2 + 9 * 12 + 4
    return small_tiff((273, 4, count, at), (278, 4, 1, 1), size=(70, 7000), tail=struct.pack("<L", 8) * count)


def overlapping(count: int, size: int) -> tuple[tuple[int, int, int, int], ...]:
    """Entries that are all the same long run of bytes."""
    return tuple((1000 + number, 1, size, 8) for number in range(count))


def pages(count: int) -> bytes:
    return encode(cell(), "TIFF", save_all=True, append_images=[cell()] * (count - 1))


def gif(size: tuple[int, int], *blocks: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(6) + b"".join(blocks) + b";"


GIF_FRAME = b",\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"  # of one pixel


def gif_comment(size: int) -> bytes:
    return b"!\xfe" + (b"\xff" + b"x" * 255) * (size // 255) + b"\0"


def bmp(size: tuple[int, int], compression: int, content: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, compression, len(content), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(content), 0, 0, 1078) + header + bytes(1024) + content


def webp_header(width: int, height: int) -> bytes:
    """Lossless, of a size, with hardly any content."""
    bits = (width - 1) | (height - 1) << 14
    content = b"\x2f" + struct.pack("<I", bits) + bytes(8)
    return b"RIFF" + struct.pack("<I", 12 + len(content) + 1) + b"WEBPVP8L" + struct.pack("<I", len(content)) + content + b"\0"


def jpeg2000(width: int, height: int, tile: int, colours: int) -> bytes:
    """A codestream's header, which says what it will hold."""
    sizes = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, tile, tile, 0, 0, colours) + b"\7\1\1" * colours
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(sizes) + 2) + sizes + b"\xff\xd9"


def boxed(header: bytes, size: tuple[int, int] = (8, 8)) -> bytes:
    """A codestream in a file that says something else of it."""

    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data) + 8) + kind + data

    head = box(b"ihdr", struct.pack(">IIHBBBB", *size, 3, 7, 7, 0, 0)) + box(b"colr", b"\1\0\0" + struct.pack(">I", 16))
    return box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", head) + box(b"jp2c", header)


def swapped_profile() -> bytes:
    """A colour profile that takes red for blue: that of sRGB, with these two primaries under each other's names."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return plain.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


def profile_of_stages(count: int) -> bytes:
    """A colour profile that asks for so many matrices, one after the other, all of them the same bytes."""
    matrix = b"matf" + struct.pack(">LHH12f", 0, 3, 3, *(1, 0, 0, 0, 1, 0, 0, 0, 1), 0, 0, 0)
    stages = b"mpet" + struct.pack(">LHHL", 0, 3, 3, count) + struct.pack(">LL", 16 + 8 * count, len(matrix)) * count + matrix
    white = b"XYZ " + struct.pack(">L3l", 0, 63190, 65536, 54061)
    start = 128 + 4 + 2 * 12
    tags = b"wtpt" + struct.pack(">LL", start, len(white)) + b"D2B0" + struct.pack(">LL", start + len(white), len(stages))
    facts = struct.pack(">L4sL12s12x4s", start + len(white) + len(stages), b"lcms", 0x04300000, b"mntrRGB XYZ ", b"acsp")
    header = facts.ljust(68, b"\0") + struct.pack(">3l", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">L", 2) + tags + white + stages


def grey(values: np.ndarray, kind: str, **options) -> bytes:
    return encode(Image.fromarray(values), kind, **options)


def noise(size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", size, np.random.default_rng(3).bytes(3 * size[0] * size[1]))


RAMP = np.linspace(0, 65535, 2400).reshape(40, 60)
LARGE = (7000, 7000)  # a little under limits.PIXELS
WHOLE = (3900, 3900)  # and under limits.PIXELS_WHOLE


def saved(mode: str, size: tuple[int, int], kind: str, **options) -> Callable[[], bytes]:
    return lambda: encode(Image.new(mode, size), kind, **options)


ODD = {  # name: (make, the row's words)
    **{f"mode {mode}": (functools.partial(lambda mode: encode(cell().convert(mode), "TIFF"), mode), ANSWER)
       for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I", "F")},
    "mode YCbCr": (lambda: encode(cell().convert("YCbCr"), "TIFF"), f"{ANSWER}|{DAMAGED}"),  # Pillow does not read its own
    "mode 16-bit PNG": (lambda: grey(RAMP.astype(np.uint16), "PNG"), ANSWER),
    "mode 16-bit TIFF": (lambda: grey(RAMP.astype(np.uint16), "TIFF"), ANSWER),
    "mode 16-bit TIFF, big end first": (lambda: grey(RAMP.astype(">u2"), "TIFF"), ANSWER),
    "mode 32-bit, extremes": (lambda: grey(np.array([[-(2**31), 2**31 - 1]], np.int32), "TIFF"), ANSWER),
    "mode float, extremes": (lambda: grey(np.array([[-3e38, 3e38]], np.float32), "TIFF"), ANSWER),
    "mode float, not a number": (lambda: grey(np.full((4, 4), np.nan, np.float32), "TIFF"), DAMAGED),
    "mode float, infinite": (lambda: grey(np.array([[0, np.inf]], np.float32), "TIFF"), DAMAGED),
    "palette with a transparent entry": (lambda: encode(cell().quantize(8), "PNG", transparency=3), ANSWER),
    "palette with transparencies": (lambda: encode(cell().quantize(8), "PNG", transparency=bytes(range(0, 240, 30))), ANSWER),
    "palette that is missing": (lambda: png(colour=3), f"{ANSWER}|{DAMAGED}"),
    "CMYK JPEG": (lambda: jpeg(mode="CMYK"), ANSWER),
    "interlaced PNG": (lambda: png()[:28] + b"\1" + png()[29:], f"{DAMAGED}|{UNKNOWN}"),
    "1 x 1": (saved("RGB", (1, 1), "PNG"), ANSWER),
    "1 x 100": (saved("RGB", (1, 100), "PNG"), ANSWER),
    "1 x 100,000": (saved("RGB", (1, 100_000), "PNG"), "100 times the other"),
    "100,000 x 1": (saved("RGB", (100_000, 1), "TIFF"), "100 times the other"),
    "40,000,000 x 1": (lambda: lying_png(40_000_000, 1), "100 times the other"),
}  # fmt: skip

BROKEN = {
    "empty": (lambda: b"", "empty"),
    **{f"half of a {kind}": (functools.partial(half, kind), f"{DAMAGED}|{UNKNOWN}") for kind in (*FORMATS, "MPO")},
    **{f"noise after {name}": (lambda mark=mark: mark + np.random.default_rng(1).bytes(5000), f"{DAMAGED}|{UNKNOWN}|{PIXELS}")
       for name, mark in BEGINNINGS.items() if name != "PPM"},
    **{f"nothing after {name}": (lambda mark=mark: mark, f"{DAMAGED}|{UNKNOWN}") for name, mark in BEGINNINGS.items()},
    "two PNG signatures": (lambda: png()[:8] + png(), f"{DAMAGED}|{UNKNOWN}"),
    "PNG, bad checksum": (lambda: png()[:29] + b"abcd" + png()[33:], f"{DAMAGED}|{UNKNOWN}"),
    "PNG larger than it is": (lambda: lying_png(3000, 3000), DAMAGED),
    "PNG of no width": (lambda: lying_png(0, 40), f"{DAMAGED}|{UNKNOWN}"),
    "PNG without content": (lambda: png(content=b""), f"{DAMAGED}|{UNKNOWN}"),
    "GIF of 4 gigapixels": (lambda: gif((65535, 65535), GIF_FRAME), PIXELS),
    "GIF frame outside its picture": (lambda: gif((1, 1), GIF_FRAME.replace(b"\1\0\1\0", b"\xff\xff\xff\xff", 1)), PIXELS),
    "JPEG of 4 gigapixels": (lambda: jpeg().replace(struct.pack(">HH", 40, 60), b"\xff\xff\xff\xff", 1), PIXELS),
    "TIFF of 2^64 pixels": (lambda: small_tiff(size=(2**32 - 1, 2**32 - 1)), f"{PIXELS}|{UNKNOWN}|{DAMAGED}"),
    "TIFF beyond its end": (lambda: small_tiff((273, 4, 1, 2**31)), DAMAGED),
    "TIFF of 60,000 samples": (lambda: small_tiff((277, 3, 1, 60_000)), f"{DAMAGED}|{UNKNOWN}"),
    "BMP of negative width": (lambda: bmp((-60, 40), 0, bytes(2400)), f"{DAMAGED}|{UNKNOWN}|{PIXELS}"),
    "BMP of 2 gigapixels": (lambda: bmp((46_000, 46_000), 0, bytes(2400)), PIXELS),
    "WebP of 268 megapixels": (lambda: webp_header(16_383, 16_383), f"{PIXELS}|{DAMAGED}|{UNKNOWN}"),
    "PPM of 10 gigapixels": (lambda: b"P6 99999 99999 255\n" + bytes(100), PIXELS),
    "PPM of negative size": (lambda: b"P6 -9 -9 255\n" + bytes(300), f"{DAMAGED}|{UNKNOWN}"),
    "JPEG 2000 of 4 gigapixels": (lambda: jpeg2000(2**16, 2**16, 2**16, 3), PIXELS),
    "JPEG 2000 of 65,000 tiles": (lambda: jpeg2000(2550, 2550, 10, 4), DAMAGED),
    "JPEG 2000 of 16,384 colours": (lambda: boxed(jpeg2000(2550, 2550, 10, 16_384), (2550, 2550)), DAMAGED),
    "JPEG 2000 of 17 megapixels in a smaller box": (
        lambda: boxed(encode(Image.new("RGB", (4100, 4100)), "JPEG2000", no_jp2=True)), DAMAGED),
    "JPEG 2000 in a smaller box": (lambda: boxed(jpeg2000(60_000, 60_000, 60_000, 3)), DAMAGED),
}  # fmt: skip

BOMBS = {
    "PNG of 900 megapixels": (saved("1", (30_000, 30_000), "PNG"), PIXELS),
    "TIFF of 900 megapixels": (saved("1", (30_000, 30_000), "TIFF", compression="tiff_deflate"), PIXELS),
    "GIF of 100 megapixels": (saved("P", (10_000, 10_000), "GIF"), PIXELS),
    "WebP of 40 megapixels": (saved("RGB", (6500, 6200), "WEBP", lossless=True, method=0, quality=0), PIXELS),
    "colour profile that expands": (lambda: png(chunk(b"iCCP", b"a\0\0" + bomb())), DAMAGED),
    "colour profile of 50,000 stages": (saved("RGB", (8, 8), "PNG", icc_profile=profile_of_stages(50_000)), ANSWER),
    "zTXt that expands": (lambda: png(chunk(b"zTXt", b"a\0\0" + bomb())), DAMAGED),
    "iTXt that expands": (lambda: png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb())), DAMAGED),
    "colour profile of 16 MB": (
        lambda: jpeg(*(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(65_000)) for n in range(1, 256))), ANSWER),
    "text of 20 MB": (lambda: png(*[chunk(b"tEXt", b"a\0" + b"x" * 999_000)] * 20), ANSWER),
    "3,000,000 chunks": (lambda: png(chunk(b"abCd", b"") * 3_000_000), SLOW),
    "3,000,000 segments": (lambda: jpeg(segment(0xFE, b"") * 3_000_000), SLOW),
    "60 MB between segments": (lambda: jpeg(segment(0xFE, b""), bytes(60_000_000)), SLOW),
    "EXIF of 60 MB in segments": (lambda: jpeg(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 900), f"{ANSWER}|{SLOW}"),
    "EXIF whose mark repeats": (lambda: png(chunk(b"eXIf", b"Exif\0\0" * 500_000)), ANSWER),
    "EXIF that points at itself": (lambda: jpeg(segment(0xE1, exif((274, 3, 1, 3), (34_665, 4, 1, 8), following=8))), ANSWER),
    "EXIF that overlaps": (lambda: jpeg(segment(0xE1, exif(*overlapping(5000, 60_000)))), DAMAGED),
    "EXIF in a WebP that overlaps": (lambda: encode(cell(), "WEBP", exif=exif(*overlapping(5000, 60_000))), DAMAGED),
    "EXIF in a PNG that overlaps": (lambda: png(chunk(b"eXIf", exif(*overlapping(5000, 60_000))[6:])), DAMAGED),
    "EXIF in a PNG of 700 KB that overlaps": (lambda: png(chunk(b"eXIf", exif(*overlapping(60_000, 700_000))[6:])), ANSWER),
    "EXIF of an odd turn": (lambda: jpeg(segment(0xE1, exif((274, 3, 1, 77)))), ANSWER),
    "XMP of 15 MB": (lambda: encode(cell(), "WEBP", xmp=b"<x tiff:Orientation='" * 700_000), ANSWER),
    "index of pictures that lies": (
        lambda: jpeg(segment(0xE2, b"MPF\0" + tiff((0xB001, 4, 1, 2**32 - 1), (0xB002, 7, 2**20, 8)))), f"{ANSWER}|{DAMAGED}"),
    "1,000 scans": (lambda: many_scans(1000, WHOLE), SLOW),
    "GIF of 100,000 frames": (lambda: gif((1, 1), GIF_FRAME * 100_000), SEVERAL),
    "GIF of 2 frames": (lambda: encode(cell(), "GIF", save_all=True, append_images=[cell().rotate(90)]), SEVERAL),
    "GIF with 30 MB of comment": (lambda: gif((1, 1), gif_comment(30_000_000), GIF_FRAME), SLOW),
    "GIF with 30 MB of comment at its end": (lambda: gif((1, 1), GIF_FRAME, gif_comment(30_000_000)), SLOW),
    "GIF of 1,000,000 extensions": (lambda: gif((1, 1), b"!\xf9\4\0\0\0\0\0" * 1_000_000, GIF_FRAME), SLOW),
    "APNG of 3 frames that says 2,000,000,000": (lambda: apng(3, 2_000_000_000), SEVERAL),
    "APNG of 3 frames that says 1": (lambda: apng(3, 1), f"{ANSWER}|{SEVERAL}|{DAMAGED}"),
    "WebP of 2 frames": (lambda: encode(cell(), "WEBP", save_all=True, append_images=[cell().rotate(90)]), SEVERAL),
    "AVIF of 2 frames": (lambda: encode(cell(), "AVIF", save_all=True, append_images=[cell().rotate(90)]), SEVERAL),
    "TIFF of 1,000 pages": (lambda: pages(1000), SEVERAL),
    "TIFF that points at itself": (lambda: small_tiff(following=8), ANSWER),
    "TIFF whose entries overlap": (lambda: small_tiff(*overlapping(5000, 900_000), tail=bytes(900_000)), DAMAGED),
    "TIFF of 15,000,000 strips": (lambda: many_strips(15_000_000), DAMAGED),
    "TIFF of 30,000,000 numbers": (lambda: small_tiff((320, 3, 30_000_000, 8), tail=bytes(60_000_100)), DAMAGED),
    "BMP that skips 255 lines": (lambda: bmp((70_000, 700), 1, b"\0\2\xff\xff" * 1000), ANSWER),
    "BMP with RLE of 49 megapixels": (lambda: bmp(LARGE, 1, b"\1\0" * 25_000_000), SLOW),
    "PPM of an odd depth": (lambda: b"P6 4000 4000 100\n" + bytes(48_000_000), SLOW),
    "PPM as text": (lambda: b"P2 5000 5000 255\n" + b"1 " * 25_000_000, SLOW),
    "PPM with a comment of 50 MB": (lambda: b"P6 #" + b"x" * 50_000_000, SLOW),
    "large, alpha": (lambda: png(size=LARGE, colour=6), ANSWER),
    "large, 16 bits": (lambda: png(size=LARGE, depth=16, colour=0), ANSWER),
    "large, 16 bits and alpha": (lambda: png(size=(5000, 4000), depth=16, colour=6), ANSWER),
    "large, float": (saved("F", LARGE, "TIFF", compression="tiff_deflate"), ANSWER),
    "large, CMYK": (saved("CMYK", LARGE, "JPEG"), ANSWER),
    "large, turned": (saved("RGB", LARGE, "JPEG", exif=exif((274, 3, 1, 6))), ANSWER),
    "large, with a colour profile": (saved("RGB", LARGE, "JPEG", icc_profile=swapped_profile()), f"{ANSWER}|{SLOW}"),
    "large, with alpha and a colour profile": (
        saved("RGBA", (7000, 5000), "PNG", compress_level=1, icc_profile=swapped_profile()), f"{ANSWER}|{SLOW}"),
    "large, palette with transparency": (saved("P", LARGE, "PNG", transparency=0), ANSWER),
    "large, WebP": (saved("RGBA", WHOLE, "WEBP", lossless=True, method=0, quality=0), ANSWER),
    "large, JPEG 2000": (saved("RGBA", (2500, 2500), "JPEG2000"), ANSWER),
    "large, JPEG 2000 of noise": (lambda: encode(noise((900, 900)), "JPEG2000"), ANSWER),
    "JPEG 2000 of 9 MB": (lambda: encode(cell(), "JPEG2000") + bytes(9_000_000), SLOW),
    "large, AVIF": (saved("RGB", WHOLE, "AVIF", speed=10), ANSWER),
    "large, progressive": (saved("CMYK", WHOLE, "JPEG", progressive=True), ANSWER),
    "more than a file may have": (lambda: png(chunk(b"abCd", bytes(64_000_000))), "64 MB"),
}  # fmt: skip


def zipped(**entries: bytes) -> bytes:
    return archive([(name.replace("_png", ".png"), data) for name, data in entries.items()])


POLYGLOTS = {
    "JPEG that is a ZIP": ("a.jpg", lambda: jpeg() + zipped(a_png=png()), [ANSWER]),
    "ZIP that is a JPEG": ("a.zip", lambda: jpeg() + zipped(a_png=png()), [ANSWER]),
    "GIF that is a script": ("a.gif", lambda: encode(cell(), "GIF") + b"*/=1;alert(1)//", [ANSWER]),
    "GIF whose size is a script's comment": (
        "a.gif",
        lambda: b"GIF89a/*" + bytes(9) + b"*/=1;alert(1)",
        [f"{UNKNOWN}|{DAMAGED}"],
    ),
    "PDF with a JPEG in it": ("a.jpg", lambda: b"%PDF-1.7\n" + jpeg(), [UNKNOWN]),
    "JPEG with a PDF in it": ("a.pdf", lambda: jpeg(segment(0xFE, b"%PDF-1.7 alert(1)")), [ANSWER]),
    "PNG with a page in it": ("a.html", lambda: png(chunk(b"tEXt", b"Comment\0<script>alert(1)</script>")), [ANSWER]),
    "PNG with a page after it": ("a.png", lambda: png() + b"<html><script>alert(1)</script>", [ANSWER]),
    "JPEG with PHP in it": ("a.php.jpg", lambda: jpeg(segment(0xFE, b"<?php system($_GET[0]); ?>")), [ANSWER]),
    "BMP that is a script": ("a.js", lambda: encode(cell(), "BMP") + b"*/=1;alert(1)", [ANSWER]),
}

# --- names ---

NAMES = {
    "255 bytes": "é" * 125 + "x.png",
    "emoji": "🩸🔬👩🏽‍🔬.png",
    "right-to-left": "cell\u202egnp.exe.png",
    "invisible letters": "a\u200b\u2066\ufeff\u00ad.png",
    "control letters": "a\x1b[31m\x07\x08\x7f.png",
    "a line break": "a\nb\r\n,c.png",
    "a formula": "=HYPERLINK(\"http:\\\\x\",\"y\").png",
    "a formula with +": "+1+cmd|' C'!A0.png",
    "a formula with -": "-1+1.png",
    "a formula with @": "@SUM(1,1).png",
    "a formula after a tab": "\t=1+1.png",
    "markup": "<img src=x onerror=alert(1)>\"'&.png",
    "a template": "{{7*7}}${7*7}{0}%s%n.png",
    "a path in codes": "..%2f..%2fetc%2fpasswd.png",
    "backslashes": "..\\..\\windows\\win.ini.png",
    "a drive": "C:\\a.png",
    "an option": "--help.png",
    "a device of Windows": "CON.png",
    "a shell's command": "$(id);`id`|id&.png",
    "blanks": "  a  .png",
    "decomposed letters": "cafe\u0301.png",
    "bytes that are no text": os.fsdecode(b"\xff\xfe\x80.png"),
}  # fmt: skip

# --- archives ---


def archive(entries: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED, **change: int) -> bytes:
    """A ZIP; `change` is what its table of contents says falsely of the last entry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in entries:
            file.writestr(name, data)
        for key, value in change.items():
            setattr(file.infolist()[-1], key, value)
    return buffer.getvalue()


def one(**change: int) -> bytes:
    return archive([("a.png", png())], **change)


def raw_entry(name: bytes, packed: bytes, size: int, data: bytes = b"", method: int = 8, offset: int = 0) -> bytes:
    """A line of the table of contents."""
    facts = (20, 20, 0, method, 0, 33, zlib.crc32(data), len(packed), size, len(name), 0, 0, 0, 0, 0, offset)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *facts) + name


def table_of(entries: list[bytes], before: bytes = b"", count: int | None = None) -> bytes:
    """A ZIP of lines of a table of contents, and what stands before them."""
    table, number = b"".join(entries), len(entries) if count is None else count
    return before + table + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, len(table), len(before), 0)


def many(count: int) -> bytes:
    """So many entries, which are no pictures."""
    return table_of([raw_entry(b"%d.txt" % number, b"", 0) for number in range(count)], count=min(count, 65_535))


def same_bytes(count: int) -> bytes:
    """So many pictures that are the same bytes of the file."""
    data = png()
    packed = zlib.compress(data)[2:-4]
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, zlib.crc32(data), len(packed), len(data), 5, 0) + b"a.png"
    return table_of([raw_entry(b"a.png", packed, len(data), data)] * count, local + packed)


def lying(method: int, expanded: int, size: int = 1000) -> bytes:
    """A picture that says it is small and expands to much."""
    return archive([("a.png", bytes(expanded))], method, file_size=size)


def nested(depth: int) -> bytes:
    data = one()
    for _ in range(depth):
        data = archive([("inner.zip", data)])
    return data


def link(target: str) -> bytes:
    return archive([("a.png", target.encode())], external_attr=0o120777 << 16, create_system=3)


def named(*names: str) -> bytes:
    return archive([(name, png()) for name in names])


NO_PICTURE = "holds no picture"
ARCHIVES = {
    "ZIP": (one, [ANSWER]),
    "empty ZIP": (lambda: archive([]), NO_PICTURE),
    "ZIP of folders": (lambda: archive([("a.png/", b""), ("b/", b"")]), NO_PICTURE),
    "ZIP of 0 bytes": (lambda: b"", BROKEN_ZIP),
    "half of a ZIP": (lambda: one()[:60], BROKEN_ZIP),
    "noise called ZIP": (lambda: np.random.default_rng(2).bytes(5000), BROKEN_ZIP),
    "7z called ZIP": (lambda: b"7z\xbc\xaf\x27\x1c" + bytes(100), BROKEN_ZIP),
    "ZIP after a program": (lambda: b"MZ" + bytes(5000) + one(), [ANSWER]),
    "ZIP before a comment of 60 KB": (lambda: one()[:-2] + b"\x60\xea" + b"x" * 60_000, [ANSWER]),
    "ZIP in a ZIP": (lambda: nested(1), NO_PICTURE),
    "ZIP in a ZIP, 50 deep": (lambda: nested(50), NO_PICTURE),
    "absolute path": (lambda: named("/etc/passwd.png"), [ANSWER]),
    "path that leads out": (lambda: named("../../../../../../tmp/out.png", "..\\out.png", "a/../../out.png"), [ANSWER] * 3),
    "path of Windows": (lambda: named("C:\\out.png", "\\\\host\\share\\out.png"), [ANSWER] * 2),
    "path of 30,000 folders": (lambda: named("a/" * 30_000 + "a.png"), "1000 letters"),
    "name of 65,000 letters": (lambda: named("a" * 65_000 + ".png"), "1000 letters"),
    "names of all kinds": (
        lambda: named(*(name.encode("utf-8", "replace").decode() for name in NAMES.values() if not name.startswith("."))),
        [ANSWER] * sum(not name.startswith(".") for name in NAMES.values())),
    "name with a zero": (lambda: one().replace(b"a.png", b"a\0.ng"), NO_PICTURE),
    "name that is no UTF-8": (lambda: named("é.png").replace("é".encode(), b"\xff\xfe"), BROKEN_ZIP),
    "two names for one entry": (lambda: one().replace(b"a.png", b"b.png", 1), [DAMAGED]),
    "link to a file": (lambda: link("/etc/passwd"), [UNKNOWN]),
    "link to a folder above": (lambda: link("../../.."), [UNKNOWN]),
    "duplicates": (lambda: archive([("a.png", png()), ("a.png", b"no picture"), ("a.png", png())]), [ANSWER, UNKNOWN, ANSWER]),
    "500 pictures in the same bytes": (lambda: same_bytes(500), [f"{ANSWER}|{DAMAGED}"] * 500),
    "501 pictures": (lambda: same_bytes(501), "501 pictures, and 500 are allowed"),
    "100,000 entries": (lambda: many(100_000), "more than 10000 files"),
    "10,000 entries": (lambda: many(10_000), NO_PICTURE),
    "entries fewer than said": (lambda: table_of([raw_entry(b"a.png", b"", 0)], count=60_000), [f"{DAMAGED}|empty"]),
    "entries more than said": (lambda: table_of([raw_entry(b"a.txt", b"", 0)] * 200_000, count=1), "more than 10000 files"),
    "password": (lambda: one(flag_bits=1), "password"),
    "password, only said within": (lambda: one().replace(b"\x14\0\0\0", b"\x14\0\1\0", 1), [ANSWER]),
    "unknown compression": (lambda: one(compress_type=99), COMPRESSION),
    "compression of another kind": (lambda: one(compress_type=zipfile.ZIP_LZMA), COMPRESSION),
    "bad checksum": (lambda: one(CRC=1), [DAMAGED]),
    "deflate bomb": (lambda: lying(zipfile.ZIP_DEFLATED, 600_000_000), [DAMAGED]),
    "bzip2 bomb": (lambda: lying(zipfile.ZIP_BZIP2, 100_000_000), COMPRESSION),
    "LZMA bomb": (lambda: lying(zipfile.ZIP_LZMA, 50_000_000), COMPRESSION),
    "deflate bomb of 64 MB": (lambda: lying(zipfile.ZIP_DEFLATED, 200_000_000, 64_000_000), [DAMAGED]),
    "bomb that says so": (lambda: table_of([raw_entry(b"a.png", b"", 64_000_000)] * 16), "1000 MB"),
    "entry of 65 MB": (lambda: archive([("a.png", bytes(65_000_000))]), "64 MB"),
    "picture bomb in a ZIP": (lambda: archive([("a.png", lying_png(30_000, 30_000))]), [PIXELS]),
    "bad and good in one ZIP": (
        lambda: archive([("a.png", b""), ("b.png", b"x"), ("c.png", png()[:40]), ("d.png", png())]),
        ["empty", UNKNOWN, f"{DAMAGED}|{UNKNOWN}", ANSWER]),
    "size of 2^32 - 1": (lambda: one(file_size=2**32 - 1, compress_size=2**32 - 1), f"{BROKEN_ZIP}|1000 MB"),
    "size of 2^63": (lambda: one(file_size=2**63), "1000 MB"),
    "content beyond the end": (lambda: one(header_offset=2**31), [DAMAGED]),
    "content at 2^63": (lambda: one(header_offset=2**63), [DAMAGED]),
    "content before the beginning": (lambda: one(header_offset=0)[10:], [DAMAGED]),
    "table elsewhere": (lambda: one()[:-6] + b"\xff\xff\xff\x7f\0\0", [DAMAGED]),
    "ZIP in parts": (lambda: one().replace(b"PK\5\6\0\0\0\0", b"PK\5\6\5\0\5\0"), [f"{ANSWER}|{BROKEN_ZIP}"]),
    "version of the future": (lambda: one(extract_version=200), BROKEN_ZIP),
    "hidden pictures": (lambda: named("__MACOSX/._a.png", ".a.png", ".git/a.png"), NO_PICTURE),
}  # fmt: skip


def kinds() -> dict[str, Kind]:
    found = written_formats()
    found |= {f"mark of {name}": Kind("a.png", lambda data=data: data + bytes(100), [UNKNOWN]) for name, data in MARKS.items()}
    pictures = {**ODD, **BROKEN, **BOMBS}
    found |= {name: Kind("a.png", make, [words]) for name, (make, words) in pictures.items()}
    found |= {name: Kind(*facts) for name, facts in POLYGLOTS.items()}
    found |= {f"name of {what}": Kind(name, lambda: png(), [ANSWER]) for what, name in NAMES.items()}
    return found | {name: Kind("a.zip", make, rows) for name, (make, rows) in ARCHIVES.items()}


# --- what becomes of them ---


def classified(path: str) -> list[str] | str:
    """The messages of a file's rows, as the page would show them; that for all where there are no rows."""
    from cells.classes import LABELS
    from cells.model.classifier import Classifier, classify_all
    from cells.model.uncertainty import Uncertainty
    from cells.read.archive import ArchiveError
    from cells.review import THUMBNAIL, Cell, Review
    from cells.write import table
    from page import api, views

    class Network:
        """A quick one, which resizes as all do."""

        labels, name = LABELS, "none"

        def submit(self, image: Image.Image) -> np.ndarray:
            return np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR), np.float32).mean((0, 1))

        def collect(self, submitted: list) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros((len(submitted), len(LABELS)), np.float32), np.stack(submitted)

    try:
        sources = api.unpacked([path], [Path(path).name])
    except ArchiveError as error:
        return str(error)
    names, pictures = zip(*sources, strict=True)
    found = classify_all([Classifier(Path(), Network(), Uncertainty(), "m", "0")], pictures, names, thumbnail_side=THUMBNAIL)
    cells = tuple(Cell(prediction, small) for small, prediction in found)
    review = Review(cells, "m@0")
    table.to_csv(table.to_frame(review))
    table.to_text(table.to_frame(review))
    assert "<script" not in views.report(review, {}, "en")
    return [cell.prediction.message if cell.prediction.probabilities is None else ANSWER for cell in cells]


def alone(work: Callable[[], object], is_held: bool) -> tuple[object, resource.struct_rusage]:
    """(what a function returns, what it cost) in a process of its own. Raises RuntimeError where that ends otherwise.

    One that is held may not write a file, nor go on for ever.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            if is_held:
                resource.setrlimit(resource.RLIMIT_CPU, (STOPPED_AT, STOPPED_AT))
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            os.write(writer, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"ended with {os.waitstatus_to_exitcode(status)}")
    return json.loads(answer), usage


def measured(kind: Kind, root: Path) -> Outcome:
    """What becomes of a kind, made in a folder of its own below `root`. Raises RuntimeError for a crash or a hang."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        path = Path(folder, kind.file)
        alone(lambda: path.write_bytes(kind.make()), is_held=False)
        before = sorted(root.rglob("*"))
        rows, usage = alone(lambda: classified(str(path)), is_held=True)
        return Outcome(rows, usage.ru_maxrss / 1000, usage.ru_utime + usage.ru_stime, sorted(root.rglob("*")) == before)


def all_measured(words: str = "") -> Iterable[tuple[str, Outcome | str]]:
    """(name, outcome) of each kind whose name has these words; a crash's words in place of an outcome."""
    import app  # noqa: F401 - once, for all processes that come of this one

    gc.freeze()  # a process that comes of this one would copy all that it collects
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        plain = measured(Kind("a.png", png, [ANSWER]), Path(folder))
        for name, kind in kinds().items():
            if words in name:
                try:
                    found = measured(kind, Path(folder))
                    yield name, found._replace(megabytes=found.megabytes - plain.megabytes)
                except RuntimeError as error:
                    yield name, str(error)


def main(words: str = "", seconds: str = f"{limits.FILE_SECONDS}") -> None:
    limits.FILE_SECONDS = float(seconds)
    for name, found in all_measured(words):
        print(json.dumps([name, found]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
