"""The locator that comes with this code: what it finds in drawn fields, and what it does with pictures of other things."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from cells.locate.find import embedded
from cells.locate.parts import AUTO, FIELD
from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT
from cells.synthetic import TYPES, draw_field

WHITE = [name for name in TYPES if name != "platelet"]


def text() -> Image.Image:
    page = Image.new("RGB", (1200, 900), "white")
    for line in range(20):
        words = f"{line} The quick brown fox jumps over the lazy dog"
        ImageDraw.Draw(page).text((40, 40 + 42 * line), words, "black", font_size=34)
    return page


def low_power() -> Image.Image:
    """1440 x 900 px with a thousand cells of at most 16 px."""
    small = np.asarray(draw_field(TYPES, 3)[0].resize((144, 90), Image.Resampling.BOX))
    return Image.fromarray(np.tile(small, (10, 10, 1)))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load(DEFAULT)


@pytest.mark.parametrize("seed", range(3))
def test_each_cell_of_a_drawn_field_is_found_once(seed):
    picture, centres = draw_field(WHITE, seed)
    found = embedded().find(picture)
    middles = np.array([((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in found])
    away = np.linalg.norm(middles[:, None] - centres, axis=2)
    assert len(found) == len(WHITE)
    assert away.min(0).max() < 40


def test_a_field_upright_or_turned_in_the_file_gives_the_same_boxes(tmp_path, classifier):
    picture = draw_field(WHITE[:4], 5, (900, 600))[0]
    picture.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright, turned = classifier.table([tmp_path / "upright.png", tmp_path / "turned.png"], how=FIELD).groupby("file")
    columns = ["cell", "x0", "y0", "x1", "y1"]
    assert upright[1][columns].to_numpy().tolist() == turned[1][columns].to_numpy().tolist()


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (1440, 900), (240, 225, 215)),
        Image.new("RGB", (1440, 900), "black"),
        text(),
        Image.fromarray(data.astronaut()).resize((1024, 1024)),
        Image.fromarray(data.chelsea()).resize((1353, 900)),
        Image.fromarray(data.coffee()).resize((1200, 800)),
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)),
    ],
    ids=["blank", "black", "text", "person", "cat", "coffee", "noise"],
)
def test_what_is_no_field_has_no_ok_cell(classifier, picture):
    for how in (AUTO, FIELD):
        assert "ok" not in {prediction.status for prediction in classifier.predict(picture, how=how)}


def test_a_field_at_low_power_is_a_line_that_says_what_to_do(classifier):
    for how in (AUTO, FIELD):
        [prediction] = classifier.predict(low_power(), how=how)
        assert prediction.status == "error"
        assert "use a higher magnification" in prediction.message
