"""Drawn cells: pictures with the size, the colours and the shapes of PBC's, made from nothing but a type and a seed.

For the page's examples, for checks and for tests; no one should take them for real ones. Every shape is a field of distances to
its outline in pixels, negative inside, so that edges are as soft as a microscope's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIZE = (360, 363)  # width, height in pixels, as in PBC
FIELD_SIZE = (1440, 900)  # of a field, as of a camera on a microscope

GROUND = (254, 231, 206)
RED_CELL = (194, 153, 153)
RED_CELL_RADIUS = 36  # pixels; 7.5 micrometres across
SOFT = 1.6  # pixels over which an edge blurs

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How a type looks. Lengths are pixels; `lobes` are (x, y, radius) of the nucleus, joined over `join` pixels."""

    radius: float
    cytoplasm: Colour
    nucleus: Colour
    lobes: tuple[tuple[float, float, float], ...]
    join: float
    chromatin: float  # how much the nucleus varies, as a share of its colour
    grain: float  # size of granules and of fine chromatin
    clump: float  # size of coarse chromatin
    wobble: float  # how far the outline strays from a circle, as a share of the radius
    granules: Colour | None = None
    covering: float = 0.0  # the share of the cytoplasm that granules cover
    over_nucleus: bool = False  # whether granules lie over the nucleus too


# Found by a search for what the embedded models that know the class name rightly and call familiar.
LOOKS = {
    "basophil": Look(
        radius=57.1,
        cytoplasm=(108, 42, 119),
        nucleus=(3, 0, 117),
        lobes=((-9, 3, 27), (14, 1, 22)),
        join=10.5,
        granules=(44, 10, 114),
        covering=0.695,
        over_nucleus=True,
        chromatin=0.232,
        grain=5.4,
        clump=4.9,
        wobble=0.024,
    ),
    "eosinophil": Look(
        radius=52.8,
        cytoplasm=(151, 126, 152),
        nucleus=(94, 47, 132),
        lobes=((-32, -9, 31), (28, -16, 24)),
        join=4.2,
        granules=(218, 110, 145),
        covering=0.385,
        chromatin=0.05,
        grain=2.7,
        clump=6.1,
        wobble=0.023,
    ),
    "erythroblast": Look(
        radius=39.0,
        cytoplasm=(133, 110, 154),
        nucleus=(46, 15, 113),
        lobes=((4, -3, 25),),
        join=12.8,
        chromatin=0.186,
        grain=3.4,
        clump=5.1,
        wobble=0.021,
    ),
    "ig": Look(
        radius=73.2,
        cytoplasm=(169, 115, 188),
        nucleus=(82, 28, 124),
        lobes=((-1, 5, 42),),
        join=4.7,
        granules=(84, 9, 133),
        covering=0.183,
        chromatin=0.073,
        grain=2.3,
        clump=10.1,
        wobble=0.043,
    ),
    "lymphocyte": Look(
        radius=38.2,
        cytoplasm=(85, 92, 255),
        nucleus=(92, 48, 125),
        lobes=((-3, 8, 51),),
        join=3.7,
        chromatin=0.097,
        grain=5.6,
        clump=17.6,
        wobble=0.06,
    ),
    "monocyte": Look(
        radius=75.6,
        cytoplasm=(155, 139, 197),
        nucleus=(97, 40, 152),
        lobes=((-29, -11, 46), (4, 17, 32), (23, -4, 33)),
        join=8.8,
        chromatin=0.171,
        grain=6.1,
        clump=6.8,
        wobble=0.118,
    ),
    "neutrophil": Look(
        radius=61.2,
        cytoplasm=(210, 182, 162),
        nucleus=(71, 37, 127),
        lobes=((-29, -18, 20), (-14, 16, 19), (18, 12, 18), (25, -18, 16)),
        join=6.7,
        granules=(191, 127, 208),
        covering=0.226,
        chromatin=0.123,
        grain=2.5,
        clump=4.3,
        wobble=0.036,
    ),
    "platelet": Look(
        radius=24.2,
        cytoplasm=(177, 118, 160),
        nucleus=(106, 74, 129),
        lobes=((0, 0, 14),),
        join=5.9,
        granules=(90, 35, 133),
        covering=0.745,
        over_nucleus=True,
        chromatin=0.216,
        grain=1.8,
        clump=9.3,
        wobble=0.094,
    ),
    "blast": Look(
        radius=81.7,
        cytoplasm=(92, 123, 224),
        nucleus=(145, 83, 166),
        lobes=((9, 13, 84),),
        join=2.8,
        chromatin=0.046,
        grain=2.4,
        clump=7.9,
        wobble=0.042,
    ),
    "smudge": Look(
        radius=68.9,
        cytoplasm=(205, 180, 161),
        nucleus=(105, 65, 132),
        lobes=((-27, -21, 56), (25, 10, 65)),
        join=18.0,
        chromatin=0.091,
        grain=4.5,
        clump=16.9,
        wobble=0.298,
    ),
}
TYPES = list(LOOKS)  # their order decides what a seed draws


def draw_cell(cell_type: str, seed: int = 0) -> Image.Image:
    """One cell of a type among red cells, SIZE. The same arguments give the same picture."""
    rng = np.random.default_rng([TYPES.index(cell_type), seed])
    middle = (SIZE[0] / 2, SIZE[1] / 2)
    pixels = _red_cells(SIZE, [(middle, LOOKS[cell_type].radius)], 120, rng)
    _draw_turned(pixels, cell_type, middle, rng)
    return _noisy(pixels, rng)


def draw_field(cell_types: Sequence[str], seed: int = 0, size: tuple[int, int] = FIELD_SIZE) -> tuple[Image.Image, np.ndarray]:
    """(a field of this (width, height) with a cell of each type, their centres (n, 2) in pixels). No cell touches another."""
    rng = np.random.default_rng([len(cell_types), seed])
    columns = math.ceil(math.sqrt(len(cell_types) * size[0] / size[1]))
    rows = math.ceil(len(cell_types) / columns)
    spots = rng.permutation(columns * rows)[: len(cell_types)]
    jitter = rng.uniform(0.45, 0.55, (len(cell_types), 2))
    centres = (np.stack([spots % columns, spots // columns], 1) + jitter) * size / (columns, rows)
    cells = [(tuple(centre), LOOKS[kind].radius) for kind, centre in zip(cell_types, centres.tolist(), strict=True)]
    pixels = _red_cells(size, cells, 120 * size[0] * size[1] // (SIZE[0] * SIZE[1]), rng)
    for kind, (centre, _) in zip(cell_types, cells, strict=True):
        _draw_turned(pixels, kind, centre, rng)
    return _noisy(pixels, rng), centres


def _draw_turned(pixels: np.ndarray, cell_type: str, centre: tuple[float, float], rng: np.random.Generator) -> None:
    look, turn = LOOKS[cell_type], rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(turn), math.sin(turn)
    part, x, y = _around(pixels, centre[0] + rng.normal(0, 5), centre[1] + rng.normal(0, 5), 1.5 * look.radius + 8)
    _draw_white_cell(part, cos * x + sin * y, cos * y - sin * x, look, rng)


def _noisy(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    noise = 2 * rng.standard_normal((*pixels.shape[:2], 1), np.float32)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _around(pixels: np.ndarray, x: float, y: float, far: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(a view of the pixels around a point, their x (1, w) and their y (h, 1) relative to it)."""
    left, right = (int(np.clip(x + each, 0, pixels.shape[1])) for each in (-far, far))
    top, bottom = (int(np.clip(y + each, 0, pixels.shape[0])) for each in (-far, far))
    columns, rows = np.arange(left, right, dtype=np.float32)[None] - x, np.arange(top, bottom, dtype=np.float32)[:, None] - y
    return pixels[top:bottom, left:right], columns, rows


def _red_cells(
    size: tuple[int, int], cells: Sequence[tuple[tuple[float, float], float]], tries: int, rng: np.random.Generator
) -> np.ndarray:
    """(height, width, 3): red cells that touch none of the white ones (centre, radius) and, as a rule, not each other."""
    places = []
    for point in map(tuple, rng.uniform(-RED_CELL_RADIUS, np.array(size) + RED_CELL_RADIUS, (tries, 2)).tolist()):
        far = all(math.dist(point, centre) > radius + RED_CELL_RADIUS + 6 for centre, radius in cells)
        if far and all(math.dist(point, other) > 1.7 * RED_CELL_RADIUS for other in places):
            places.append(point)
    pixels = np.empty((size[1], size[0], 3), np.float32)
    pixels[:] = GROUND
    for centre in places:
        _draw_red_cell(pixels, centre, rng)
    return pixels


def _draw_red_cell(pixels: np.ndarray, centre: tuple[float, float], rng: np.random.Generator) -> None:
    part, x, y = _around(pixels, *centre, 1.25 * RED_CELL_RADIUS)
    radius = RED_CELL_RADIUS * rng.uniform(0.85, 1.08)
    stretch = rng.uniform(0.88, 1.12)
    far = np.hypot(x * stretch, y / stretch)
    pallor = np.exp(-((far / (radius * 0.42)) ** 2) / 1.2) * rng.uniform(0.3, 0.75)
    _blend(part, np.float32(RED_CELL) * rng.uniform(0.95, 1.05), _inside(far - radius) * (1 - pallor) * 0.92)


def _draw_white_cell(pixels: np.ndarray, x: np.ndarray, y: np.ndarray, look: Look, rng: np.random.Generator) -> None:
    radius = look.radius * rng.uniform(0.95, 1.05)
    angle = np.arctan2(y, x)
    waves = sum(rng.normal() * np.sin(k * angle + rng.uniform(0, 6.3)) / k for k in (2, 3, 5)) * look.wobble
    cell = _inside(np.hypot(x, y) - radius * (1 + waves))
    fine, coarse = _noise(cell.shape, look.grain, rng), _noise(cell.shape, look.clump, rng)
    _blend(pixels, np.float32(look.cytoplasm) * (1 + 0.1 * coarse[..., None]), cell)
    nucleus = _inside(_union([np.hypot(x - u, y - v) - r for u, v, r in look.lobes], look.join)) * cell
    _blend(pixels, np.float32(look.nucleus) * (1 + look.chromatin * (0.6 * coarse + 0.4 * fine)[..., None]), nucleus)
    if look.granules:
        where = cell if look.over_nucleus else cell * (1 - nucleus)
        grains = 1 / (1 + np.exp(-6 * (fine - float(np.quantile(fine, 1 - look.covering)))))
        _blend(pixels, np.float32(look.granules), where * grains)


def _union(distances: list[np.ndarray], join: float) -> np.ndarray:
    """The distance to the outline of several shapes together, their joints filled over `join` pixels."""
    return -join * np.log(sum(np.exp(-each / join) for each in distances))


def _inside(distance: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(distance / SOFT, -30, 30)))


def _noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> np.ndarray:
    """(height, width) of smooth noise with this size of grain in pixels, mean 0, standard deviation 1."""
    small = rng.standard_normal((round(shape[0] / grain) + 2, round(shape[1] / grain) + 2), np.float32)
    large = np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))
    return (large - large.mean()) / large.std()


def _blend(pixels: np.ndarray, colour: np.ndarray, share: np.ndarray) -> None:
    pixels += (colour - pixels) * share[..., None]
