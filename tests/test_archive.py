"""A ZIP of pictures: which are taken and in what order, one sentence for each kind of bad ZIP, and nothing ever unpacked."""

import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from cells.read import limits
from cells.read.archive import ArchiveError, Entry, expand_archives, is_archive, pictures
from cells.read.images import ImageError, read_image
from cells.synthetic import draw_cell


def png(cell_type: str) -> bytes:
    buffer = io.BytesIO()
    draw_cell(cell_type).resize((40, 40)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png("neutrophil")


@pytest.fixture
def pack(tmp_path):
    """pack(entries, ...) -> the path of a ZIP of these; `change` is what its table of contents says falsely of the last."""

    def packed(entries: dict[str, bytes] | list[str], compression: int = zipfile.ZIP_DEFLATED, **change: int) -> str:
        entries = entries if isinstance(entries, dict) else dict.fromkeys(entries, PICTURE)
        path = tmp_path / "zips" / "cells.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w", compression) as file:
            for name, data in entries.items():
                file.writestr(name, data)
            for key, value in change.items():
                setattr(file.infolist()[-1], key, value)
        return str(path)

    return packed


def damage(path: str, before: bytes, after: bytes) -> None:
    """Replace the first such bytes of a file."""
    data = Path(path).read_bytes()
    assert before in data
    Path(path).write_bytes(data.replace(before, after, 1))


def clear_utf8_flags(path: str) -> None:
    """Of all entries, in their own headers and in the table of contents."""
    data = Path(path).read_bytes()
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        start = data.find(mark)
        while start >= 0:
            data = data[: start + place] + bytes([data[start + place] & ~0x08]) + data[start + place + 1 :]
            start = data.find(mark, start + 1)
    Path(path).write_bytes(data)


def names(path: str, most: int = 200) -> list[str]:
    return [one.name for one in pictures(path, most)]


def test_a_zip_is_known_by_its_ending():
    assert [is_archive(name) for name in ("a.zip", "/b/A.ZIP", "zip", "a.zip.png")] == [True, True, False, False]


def test_pictures_are_taken_from_every_folder_in_the_order_of_their_names(pack):
    path = pack(["b.png", "B/1.jpg", "a/c/10.TIFF", "a/c/9.bmp", "a.JPG", "ñ 细胞.webp"])
    assert names(path) == ["B/1.jpg", "a.JPG", "a/c/10.TIFF", "a/c/9.bmp", "b.png", "ñ 细胞.webp"]


def test_what_is_no_picture_and_what_is_hidden_is_passed_over(pack):
    hidden = ["__MACOSX/._a.png", "__MACOSX/b/a.png", ".a.png", "a/.b.png", ".trash/a.png", "a/.git/b.png"]
    others = ["notes.txt", "Thumbs.db", "a.png.exe", "inner.zip", "png", "folder.png/"]
    assert names(pack([*hidden, *others, "a/b.png"]), most=1) == ["a/b.png"]


def test_the_content_is_that_of_the_entry(pack):
    entries = {f"{cell_type}.png": png(cell_type) for cell_type in ("platelet", "ig", "basophil")}
    for one in pictures(pack(entries), 3):
        assert one.read_bytes() == entries[one.name]
        assert np.array_equal(read_image(one), read_image(entries[one.name]))


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_usual_compression_is_read(pack, kind):
    (one,) = pictures(pack(["a.png"], kind), 1)
    assert read_image(one).size == (40, 40)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_said(pack, kind):
    with pytest.raises(ArchiveError, match="another method than deflate") as caught:
        pictures(pack(["a.png"], kind), 1)
    assert caught.value.code == "zip_compression"


def test_a_compression_that_nobody_knows_is_said(pack):
    with pytest.raises(ArchiveError, match="another method than deflate"):
        pictures(pack(["a.png"], compress_type=99), 1)


def test_a_zip_of_the_mac_keeps_its_names(pack):
    """Its names are UTF-8 without the flag that says so."""
    accented = "cafe\u0301/c\u00e9lula \u7d30\u80de.png"
    path = pack([accented, "plain.png"])
    clear_utf8_flags(path)
    entry, plain = pictures(path, 2)
    assert plain.name == "plain.png"
    assert entry.name == accented
    assert read_image(entry).size == (40, 40)


def test_an_old_zip_of_windows_keeps_its_names(pack):
    path = pack(["\u00e9t\u00e9.png"])
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.replace("\u00e9t\u00e9.png".encode(), b"\x82t\x82\x82\x82.png"))
    clear_utf8_flags(path)
    assert names(path) == ["\u00e9t\u00e9\u00e9\u00e9.png"]


def test_a_zip_stands_for_its_pictures_and_any_other_file_for_itself(pack, tmp_path):
    path, plain, missing = pack(["b.png", "B/a.png"]), str(tmp_path / "plain.png"), str(tmp_path / "missing.zip")
    found = expand_archives([plain, path, missing])
    assert [name for name, _ in found] == [plain, "B/a.png", "b.png", missing]
    assert found[0][1] == plain
    assert read_image(found[1][1]).size == (40, 40)
    with pytest.raises(ImageError, match="no such file"):
        read_image(found[3][1])


def test_no_file_stays_open_and_threads_read_at_once(pack):
    entries = {f"{number}.png": png("platelet") + bytes(number) for number in range(40)}
    path = pack(entries)
    found = pictures(path, 40)
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(Entry.read_bytes, found))
    assert contents == [entries[one.name] for one in found]
    assert not [file for file in Path("/proc/self/fd").iterdir() if os.path.realpath(file) == os.path.realpath(path)]
    Path(path).unlink()
    with pytest.raises(ImageError) as caught:
        read_image(found[0])
    assert caught.value.code == "file_missing"


def test_as_many_as_are_allowed_and_no_more(pack):
    path = pack([*(f"{number}.png" for number in range(5)), "notes.txt"])
    assert len(names(path, most=5)) == 5
    with pytest.raises(ArchiveError, match="5 pictures, and 4 are allowed"):
        pictures(path, 4)


def test_a_password_is_said(pack):
    with pytest.raises(ArchiveError, match="password"):
        pictures(pack(["a.png", "b.png"], flag_bits=1), 2)


def test_a_locked_file_that_is_no_picture_is_no_matter(pack):
    assert names(pack(["a.png", "notes.txt"], flag_bits=1)) == ["a.png"]


def test_a_zip_of_no_picture_is_said(pack):
    for entries in ([], ["notes.txt", "inner.zip", "a/"]):
        with pytest.raises(ArchiveError, match=r"no picture.*\.png"):
            pictures(pack(entries), 200)


@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, -30, -1])
def test_a_zip_that_was_cut_off_is_said(pack, keep):
    path = Path(pack(["a.png", "b.png"]))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ArchiveError, match="damaged or cut off"):
        pictures(str(path), 200)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all", PICTURE, b"Rar!\x1a\x07\x01\x00"])
def test_what_is_no_zip_is_said(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged or cut off"):
        pictures(str(path), 200)


def test_a_zip_that_is_not_there_and_a_folder_are_said(tmp_path):
    for path in (tmp_path / "nothing.zip", tmp_path):
        with pytest.raises(ArchiveError):
            pictures(str(path), 200)


def test_a_zip_that_may_not_be_read_is_said(pack, monkeypatch):
    path = pack(["a.png"])
    monkeypatch.setattr("builtins.open", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(ArchiveError, match=r"cannot be read: Permission denied\."):
        pictures(path, 200)


def test_more_bytes_than_are_allowed_are_refused_before_one_is_read(pack, monkeypatch):
    path = pack({"a.png": bytes(3_000_000), "b.png": bytes(2_000_000), "notes.txt": bytes(9_000_000)})
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 5_000_000)
    assert names(path) == ["a.png", "b.png"]
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 4_999_999)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ArchiveError, match="more than 4 MB"):
        pictures(path, 200)


def test_a_name_is_only_a_name_and_nothing_is_written(pack, tmp_path):
    absolute = str(tmp_path / "absolute.png")
    path = pack(
        ["../up.png", "a/../../../up.png", "a\\..\\up.png", absolute, "/up.png", "./here.png", "C:\\up.png", "a//b.png"]
    )
    before = sorted(tmp_path.rglob("*"))
    found = pictures(path, 200)
    assert len(found) == 8
    assert all(read_image(one).size == (40, 40) for one in found)
    assert sorted(tmp_path.rglob("*")) == before == [tmp_path / "zips", tmp_path / "zips" / "cells.zip"]
    assert not any(Path(place, "up.png").exists() for place in ("/", "..", "."))


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_entry_is_an_error_of_its_own_and_the_others_go_on(pack, kind):
    path = pack(["a.png", "b.png"], kind)
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("a.png").compress_size
    data = bytearray(Path(path).read_bytes())
    start = 30 + len("a.png")  # of the first entry's content, after its header
    data[start + 9 : start + size] = bytes(255 - byte for byte in data[start + 9 : start + size])
    Path(path).write_bytes(data)
    broken, good = pictures(path, 2)
    with pytest.raises(ImageError):
        read_image(broken)
    assert read_image(good).size == (40, 40)


def test_an_entry_whose_header_is_damaged_is_an_image_error(pack):
    for before, after in (("ñ.png".encode(), b"\xff\xff.png"), (b"PK\x03\x04", b"PK\x00\x00"), ("ñ.png".encode(), b"xy.png")):
        path = pack(["ñ.png"])
        damage(path, before, after)
        (one,) = pictures(path, 1)
        with pytest.raises(ImageError, match="damaged"):
            read_image(one)


def test_an_entry_that_is_larger_than_it_says_is_not_read_further(pack):
    (one,) = pictures(pack({"a.png": PICTURE + bytes(5_000_000)}, file_size=1000), 1)
    with pytest.raises(ImageError, match="damaged"):
        read_image(one)


def test_an_entry_that_says_it_is_huge_is_refused(pack):
    with pytest.raises(ArchiveError, match="more than 1000 MB"):
        pictures(pack(["a.png"], file_size=2_000_000_000), 1)


def test_an_entry_that_is_smaller_than_it_says_is_read(pack):
    (one,) = pictures(pack(["a.png"], file_size=5_000_000), 1)
    assert np.array_equal(read_image(one), read_image(PICTURE))


@pytest.mark.parametrize("change", [{"compress_size": 20}, {"CRC": 1}, {"header_offset": 7}], ids=str)
def test_an_entry_that_lies_about_its_content_is_an_image_error(pack, change):
    (one,) = pictures(pack(["a.png"], **change), 1)
    with pytest.raises(ImageError, match="damaged"):
        read_image(one)


def test_pictures_in_a_zip_are_judged_as_any_other(pack):
    found = pictures(pack({"empty.png": b"", "good.png": PICTURE, "text.png": b"no picture", "half.png": PICTURE[:300]}), 4)
    errors = {}
    for one in found:
        try:
            assert isinstance(read_image(one), Image.Image)
        except ImageError as error:
            errors[one.name] = error.code
    assert errors == {"empty.png": "file_empty", "text.png": "picture_unknown", "half.png": "picture_broken"}
