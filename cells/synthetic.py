"""Drawn cells: pictures of the size and colours of PBC's, made from nothing but a type and a seed.

For the page's examples, for checks and for tests; no one should take them for real ones.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (360, 363)

# type: (radius of the cell, its colour, radius of a nuclear lobe, number of lobes, colour of the granules)
LOOKS = {
    "basophil": (62, (190, 160, 205), 40, 2, (60, 30, 110)),
    "eosinophil": (64, (235, 170, 160), 30, 2, (215, 95, 80)),
    "erythroblast": (50, (170, 165, 205), 30, 1, None),
    "ig": (80, (190, 170, 215), 56, 1, (150, 90, 170)),
    "lymphocyte": (50, (150, 160, 220), 44, 1, None),
    "monocyte": (82, (185, 185, 210), 44, 2, None),
    "neutrophil": (66, (235, 210, 215), 24, 4, (220, 180, 195)),
    "platelet": (20, (190, 150, 200), 8, 1, (130, 80, 160)),
    "blast": (72, (165, 160, 225), 60, 1, None),
    "smudge": (70, (205, 165, 200), 64, 3, None),
}
TYPES = list(LOOKS)  # their order decides what a seed draws
NUCLEUS = (95, 55, 140)


def draw_cell(cell_type: str, seed: int = 0) -> Image.Image:
    """One cell of a type among red cells. The same arguments give the same picture."""
    rng = np.random.default_rng([TYPES.index(cell_type), seed])
    image = Image.new("RGB", SIZE, (250, 232, 214))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        _disc(draw, rng.uniform(0, SIZE[0]), rng.uniform(0, SIZE[1]), 34, (222, 178, 168))
    radius, colour, lobe, lobes, granules = LOOKS[cell_type]
    x, y = SIZE[0] / 2 + rng.normal(0, 6), SIZE[1] / 2 + rng.normal(0, 6)
    _disc(draw, x, y, radius * 1.2, (250, 232, 214))
    _disc(draw, x, y, radius * rng.uniform(0.92, 1.08), colour)
    turn = rng.uniform(0, 2 * np.pi)
    for index in range(lobes):
        angle, far = turn + 1.3 * index, (radius - lobe) * 0.7 if lobes > 1 else 0
        _disc(draw, x + far * np.cos(angle), y + far * np.sin(angle), lobe, NUCLEUS)
    if granules:
        for _ in range(60):
            angle, far = rng.uniform(0, 2 * np.pi), radius * 0.95 * np.sqrt(rng.uniform())
            _disc(draw, x + far * np.cos(angle), y + far * np.sin(angle), 3, granules)
    return image.filter(ImageFilter.GaussianBlur(1.2))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
