"""The card of a model that was adapted to a laboratory, from its folder: what it learnt from, and how right it is."""

import json
from pathlib import Path
from string import Template

from cells.classes import english
from cells.model.adapt_report import ENOUGH, RIGHT, Report
from cells.model.folder import ADAPTED_FILE, CLASSES_FILE, read_classes, version

TEMPLATE = Template("""# $name: blood cells, adapted to one laboratory

`$base`, fine-tuned on $total labelled cells of one laboratory with `python -m cells adapt`. In another laboratory it may be
worse than its base. **For research and teaching, not for diagnosis.** Results name it `$name@$version`.

| type | labelled cells |
| --- | --- |
$rows

Its classes: $classes.

Right on $right of $total held-back cells; the base was right on $right_before of them. Each cell was held back once,
from a model that learnt from half of the others. $ok$missing

```python
from transformers import pipeline

pipeline("image-classification", model="FOLDER")("cell.jpg")
```

The data and licences of the base stand on its card.
""")


def write(folder: Path) -> None:
    """Write the folder's card, README.md. Raises OSError."""
    (folder / "README.md").write_text(body(folder), encoding="utf-8")


def body(folder: Path, name: str = "") -> str:
    """The card of a folder that Adapted.save() wrote; `name` is what it calls the model, the folder's name without one."""
    report = Report.from_json((folder / ADAPTED_FILE).read_text())
    labels = [one.name for one in read_classes(folder, _labels(folder))]
    return TEMPLATE.substitute(
        name=name or folder.resolve().name,
        version=version(folder),
        base=report.base,
        total=report.total,
        rows="\n".join(f"| {english(label)} | {count} |" for label, count in report.cells.items()),
        classes=", ".join(english(label) for label in labels),
        right=report.right,
        right_before=report.right_before,
        ok=ok_words(report),
        missing=missing_words(report),
    )


def ok_words(report: Report) -> str:
    """Which answers are `ok`, in a sentence."""
    if not report.ok:
        return f"No answer is `ok` yet: too few held-back cells were named rightly to promise {RIGHT:.0%}."
    return f"With the new threshold {report.ok} of them would be `ok`, {report.ok_right} of these right."


def missing_words(report: Report) -> str:
    """Which types want more labels, in a sentence with a space before it; nothing where none does."""
    if not report.missing:
        return ""
    wanted = ", ".join(f"{count} {english(label)}" for label, count in report.missing.items())
    return f" A type is never `ok` below {ENOUGH} labelled cells; still to label: {wanted}."


def _labels(folder: Path) -> list[str]:
    return [one["name"] for one in json.loads((folder / CLASSES_FILE).read_text())]
