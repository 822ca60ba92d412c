"""Model folder -> model card. A pure function fills the template card.md from plain values."""

import json
from pathlib import Path
from string import Template

from cells.classes import LABELS, NAMES

TEMPLATE = Path(__file__).with_name("card.md")
MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "Cohen's kappa",
    "error_rate": "error rate",
    "macro_f1": "macro-F1",
    "ece": "expected calibration error",
    "nll": "negative log likelihood",
}
SHOWN_ERRORS = 8
TIMM = """
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True)  # "hf-hub:USER/NAME" from the Hub
"""


def write(folder: Path) -> None:
    """Write the folder's card, README.md, from its config.json, metrics.json and trust.json."""
    config, metrics, trust = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "metrics", "trust"))
    size = (folder / "model.safetensors").stat().st_size
    (folder / "README.md").write_text(fill(folder.name, config, metrics, trust, size))


def fill(name: str, config: dict, metrics: dict, trust: dict, size: int) -> str:
    """The card's text. `size` is that of the weights in bytes; the dicts are the JSON files of a model folder."""
    test, pictures = metrics["test"], metrics["pictures"]
    timm = "pretrained_cfg" in config  # timm's layout; transformers' own has a preprocessor_config.json beside it
    labels = list(test["confusion"])
    return Template(TEMPLATE.read_text()).substitute(
        name=name,
        architecture=metrics["architecture"],
        library="timm" if timm else "transformers",
        tags="\n".join(f"  - {tag}" for tag in (["timm"] if timm else []) + ["transformers"]),
        timm=TIMM if timm else "",
        batch_norm="\n  Batch-norm statistics were recomputed on clean pictures." if timm else "",
        kinds="eight types" if len(labels) == len(LABELS) else "thirteen subtypes",
        labels=", ".join(NAMES[label] for label in labels),
        parameters=f"{metrics['parameters'] / 1e6:.1f} million",
        image_size=metrics["image_size"],
        megabytes=f"{size / 1e6:.1f}",
        test_pictures=f"{test['pictures']:,}",
        metrics="\n".join(f"| {text} | {interval(test, key)} |" for key, text in MEASURES.items()),
        recall="\n".join(
            f"| {NAMES[label]} | {share:.4f} | {sum(test['confusion'][label])} |" for label, share in test["recall"].items()
        ),
        columns=" | ".join(NAMES[label] for label in labels),
        rule=" | ".join(["---"] * len(labels)),
        confusion="\n".join(f"| {NAMES[label]} | {' | '.join(map(str, test['confusion'][label]))} |" for label in labels),
        errors="\n".join(
            f"| {NAMES[row['subtype']]} | {NAMES[row['prediction']]} | {row['count']} |"
            for row in test["errors_by_subtype"][:SHOWN_ERRORS]
        ),
        review_below=f"{trust['review_below']:.3f}",
        review_share=f"{metrics['review']['share']:.1%}",
        review_caught=f"{metrics['review']['caught']:.0%}",
        all_pictures=f"{sum(pictures.values()):,}",
        start=f"the weights `{metrics['pretrained']}`" if metrics["pretrained"] else "nothing (no pretrained weights)",
        train_pictures=f"{pictures['train']:,}",
        validation_pictures=f"{pictures['validation']:,}",
        **{key: metrics[key] for key in ("recipe", "command", "picture_format", "seed", "temperature")},
        seconds=f"{metrics['time']['seconds']:,}",
        **{key: metrics[key] for key in ("device", "torch", "date")},
    )


def interval(test: dict, key: str) -> str:
    """A measure with its limits, as text."""
    return f"{test[key]:.4f} ({test[f'{key}_low']:.4f} to {test[f'{key}_high']:.4f})"
