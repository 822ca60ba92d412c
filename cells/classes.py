"""The cell types of the PBC dataset: their order, names and which of them are white cells.

Source: Acevedo et al., Data in Brief 30:105474 (2020). The order is alphabetical, as in the dataset's `label` column, and
is the order of every probability vector in this project.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class CellType:
    """One of the 8 types. `name` is the dataset's and the models' label; the other two are for people."""

    name: str
    english: str
    spanish: str
    white: bool  # counted in a differential's denominator


@dataclass(frozen=True)
class Subtype:
    """One of the 13 prefixes of the dataset's file names, and the type that it belongs to."""

    code: str
    cell_type: str
    english: str
    spanish: str


CELL_TYPES = (
    CellType("basophil", "basophil", "basófilo", white=True),
    CellType("eosinophil", "eosinophil", "eosinófilo", white=True),
    CellType("erythroblast", "erythroblast", "eritroblasto", white=False),
    CellType("ig", "immature granulocyte", "granulocito inmaduro", white=True),
    CellType("lymphocyte", "lymphocyte", "linfocito", white=True),
    CellType("monocyte", "monocyte", "monocito", white=True),
    CellType("neutrophil", "neutrophil", "neutrófilo", white=True),
    CellType("platelet", "platelet", "plaqueta", white=False),
)

SUBTYPES = (
    Subtype("BA", "basophil", "basophil", "basófilo"),
    Subtype("EO", "eosinophil", "eosinophil", "eosinófilo"),
    Subtype("ERB", "erythroblast", "erythroblast", "eritroblasto"),
    Subtype("IG", "ig", "immature granulocyte, not assigned", "granulocito inmaduro, sin asignar"),
    Subtype("MMY", "ig", "metamyelocyte", "metamielocito"),
    Subtype("MY", "ig", "myelocyte", "mielocito"),
    Subtype("PMY", "ig", "promyelocyte", "promielocito"),
    Subtype("LY", "lymphocyte", "lymphocyte", "linfocito"),
    Subtype("MO", "monocyte", "monocyte", "monocito"),
    Subtype("BNE", "neutrophil", "band neutrophil", "neutrófilo en banda"),
    Subtype("SNE", "neutrophil", "segmented neutrophil", "neutrófilo segmentado"),
    Subtype("NEUTROPHIL", "neutrophil", "neutrophil, not assigned", "neutrófilo, sin asignar"),
    Subtype("PLATELET", "platelet", "platelet", "plaqueta"),
)

LABELS = tuple(cell.name for cell in CELL_TYPES)
SUBTYPE_LABELS = tuple(subtype.code for subtype in SUBTYPES)
TYPE_OF_SUBTYPE = {subtype.code: subtype.cell_type for subtype in SUBTYPES}
ENGLISH = {cell.name: cell.english for cell in CELL_TYPES}
NAMES = ENGLISH | {subtype.code: subtype.english for subtype in SUBTYPES}  # of a label of either kind
SPANISH = {one.name: one.spanish for one in CELL_TYPES} | {subtype.code: subtype.spanish for subtype in SUBTYPES}
