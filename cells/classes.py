"""The classes of cells that this project knows by name: their order, words, and how a differential treats each.

The 8 types and the 13 subtypes are those of the PBC dataset (Acevedo et al., Data in Brief 30:105474, 2020). The types are in
alphabetical order, as in the dataset's `label` column. A model folder may have any other set of classes: it says so in its
classes.json (cells/model/folder.py), and `describe` says what is known of a label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class CellClass:
    """A class that a model tells apart. `name` is its label; `english` and `spanish` are for people.

    `white`: it is in a differential's denominator. `counted`: it enters a differential at all. `cell_type`: the class that it
    counts as, its own name where that is none other.
    """

    name: str
    english: str
    spanish: str
    white: bool = False
    counted: bool = True
    cell_type: str = ""

    def __post_init__(self) -> None:
        if not self.cell_type:
            object.__setattr__(self, "cell_type", self.name)


CELL_TYPES = (
    CellClass("basophil", "basophil", "basófilo", white=True),
    CellClass("eosinophil", "eosinophil", "eosinófilo", white=True),
    CellClass("erythroblast", "erythroblast", "eritroblasto"),
    CellClass("ig", "immature granulocyte", "granulocito inmaduro", white=True),
    CellClass("lymphocyte", "lymphocyte", "linfocito", white=True),
    CellClass("monocyte", "monocyte", "monocito", white=True),
    CellClass("neutrophil", "neutrophil", "neutrófilo", white=True),
    CellClass("platelet", "platelet", "plaqueta"),
)

SUBTYPES = (  # the prefixes of the dataset's file names
    CellClass("BA", "basophil", "basófilo", white=True, cell_type="basophil"),
    CellClass("EO", "eosinophil", "eosinófilo", white=True, cell_type="eosinophil"),
    CellClass("ERB", "erythroblast", "eritroblasto", cell_type="erythroblast"),
    CellClass("IG", "immature granulocyte, not assigned", "granulocito inmaduro, sin asignar", white=True, cell_type="ig"),
    CellClass("MMY", "metamyelocyte", "metamielocito", white=True, cell_type="ig"),
    CellClass("MY", "myelocyte", "mielocito", white=True, cell_type="ig"),
    CellClass("PMY", "promyelocyte", "promielocito", white=True, cell_type="ig"),
    CellClass("LY", "lymphocyte", "linfocito", white=True, cell_type="lymphocyte"),
    CellClass("MO", "monocyte", "monocito", white=True, cell_type="monocyte"),
    CellClass("BNE", "band neutrophil", "neutrófilo en banda", white=True, cell_type="neutrophil"),
    CellClass("SNE", "segmented neutrophil", "neutrófilo segmentado", white=True, cell_type="neutrophil"),
    CellClass("NEUTROPHIL", "neutrophil, not assigned", "neutrófilo, sin asignar", white=True, cell_type="neutrophil"),
    CellClass("PLATELET", "platelet", "plaqueta", cell_type="platelet"),
)

BLAST = CellClass("blast", "blast", "blasto", white=True)
SMUDGE = CellClass("smudge", "smudge cell", "sombra de Gumprecht")

LABELS = tuple(one.name for one in CELL_TYPES)
SUBTYPE_LABELS = tuple(one.name for one in SUBTYPES)
TYPE_OF_SUBTYPE = {one.name: one.cell_type for one in SUBTYPES}
KNOWN = {one.name: one for one in (*CELL_TYPES, *SUBTYPES, BLAST, SMUDGE)}
ENGLISH = {one.name: one.english for one in CELL_TYPES}
NAMES = {name: one.english for name, one in KNOWN.items()}
SPANISH = {name: one.spanish for name, one in KNOWN.items()}

# Of a laboratory's report: the white cells of which it has a row whatever was counted. Blasts follow.
ORDER = ("neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "ig")
ERYTHROBLAST, PLATELET = "erythroblast", "platelet"  # which a report gives outside the denominator, each in its own way
TYPICAL = {  # per cent of the white cells of adults
    "neutrophil": (40.0, 60.0),
    "lymphocyte": (20.0, 40.0),
    "monocyte": (2.0, 8.0),
    "eosinophil": (1.0, 4.0),
    "basophil": (0.5, 1.0),
}


def english(label: str) -> str:
    """The words for a class or subtype; an unknown label is its own name."""
    return NAMES.get(label, label)


def describe(labels: Iterable[str]) -> tuple[CellClass, ...]:
    """The class of each label, in their order. An unknown label is its own name, counted, and no white cell."""
    return tuple(KNOWN.get(label) or CellClass(label, label, label) for label in labels)


def from_json(values: Iterable[Mapping]) -> tuple[CellClass, ...]:
    """Classes from what to_json() made of them; of an entry all but the name may be left out, as describe() has it then.

    Raises ValueError, TypeError where that is not what it holds.
    """
    classes = tuple(map(_from_json, values))
    if len({one.name for one in classes}) < len(classes):
        raise ValueError("a class occurs twice")
    return classes


def to_json(classes: Iterable[CellClass]) -> list[dict]:
    """Plain values."""
    return [asdict(one) for one in classes]


def _from_json(value: Mapping) -> CellClass:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str) or not value["name"]:
        raise ValueError("a class is to have a name")
    found = CellClass(**asdict(describe((value["name"],))[0]) | dict(value))
    texts, flags = (found.english, found.spanish, found.cell_type), (found.white, found.counted)
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError("a class has names, which are texts, and is white and counted or not, which is true or false")
    return found


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels of a model in the order in which it gives probabilities: the 8 types and the 13 subtypes in that of above."""
    labels = tuple(labels)
    return next((known for known in (LABELS, SUBTYPE_LABELS) if sorted(known) == sorted(labels)), labels)


def place(one: CellClass) -> int:
    """Where a class stands in a report: ORDER, blasts, other white cells, then those outside the denominator."""
    order = (*ORDER, BLAST.name, "white", ERYTHROBLAST, SMUDGE.name, "other", PLATELET)
    return order.index(one.cell_type if one.cell_type in order else "white" if one.white else "other")
