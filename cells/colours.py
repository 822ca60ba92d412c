"""A colour for each class, the same in gallery, chart, Excel and report.

The palette of Okabe and Ito (2008), which people tell apart whatever colours they see, without its black and its yellow: nobody
sees the first on a dark page and the second on a light one.
"""

from cells.classes import TYPE_OF_SUBTYPE

COLOURS = {
    "neutrophil": "#0072b2",
    "lymphocyte": "#e69f00",
    "monocyte": "#009e73",
    "eosinophil": "#d55e00",
    "basophil": "#56b4e9",
    "ig": "#cc79a7",
    "erythroblast": "#a89600",
    "platelet": "#888888",
    "blast": "#882255",  # the wine of Tol's palette
    "smudge": "#9c755f",  # the brown of Tableau's
}
OTHER = "#6b6b6b"  # of what is no known class, or no cell


def colour(label: str) -> str:
    """The colour of a class as #rrggbb; a subtype has that of its type."""
    return COLOURS.get(TYPE_OF_SUBTYPE.get(label, label), OTHER)
