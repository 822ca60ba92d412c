"""Model folder -> model card. A pure function fills the template card.md from plain values.

The generated text stands between two marks, the first of which holds a digest of it. So a card that a person edited, outside
the marks or between them, is known, and their words are kept.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from cells.classes import LABELS, NAMES
from cells.measures import MEASURES, command, interval, read_metrics
from cells.model.folder import QUANTIZED_RECORD, may_quantize

TEMPLATE = Path(__file__).with_name("card.md")
SHOWN_ERRORS = 8
SHOWN_FIGURES = {"confusion": "Confusion matrix of the test pictures", "training": "Loss and validation accuracy by epoch"}
TIMM = """
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True)  # "hf-hub:USER/NAME" from the Hub
"""
ORIGINALS = "\nThe Hub's dataset holds the originals, in JPEG, so a run on it will not give exactly these figures.\n"
UNFAMILIAR = """
A picture whose features lie far from those of the training pictures is called `unfamiliar` there, as $share of the test
pictures are. That was not tried on another laboratory's pictures.
"""
PREDICTION_SET = """
The types with a probability of at least $threshold are the prediction set. It holds the true type of 99 % of the validation
pictures; it holds that of $coverage of the test pictures, and has $mean_size types on average.
"""
QUANTIZED = """
The project's page and command line serve it by ONNX Runtime in 8 bits (`onnx/model_quantized.onnx`). That was chosen on the
$pictures $part pictures, on which its accuracy is $fall and $same of the answers are the same.
"""
FIGURES_OF_8_BITS = """All figures above are those of 8 bits.
"""
TEST_IN_8_BITS = """On the $pictures test pictures its accuracy is then $accuracy, and $unfamiliar are called unfamiliar.
"""
BEGIN = (
    "<!-- generated {digest}: words outside these marks are yours and stay; if you change those between them, they stay too -->"
)
END = "<!-- end of the generated part -->"
# Metadata that is measured, or that decides how a Space is built: no person's to write.
RENEWED = ("eval_results", "model_name", "sdk", "sdk_version", "python_version", "app_file", "models", "preload_from_hub")
_MARKED = re.compile(r"<!-- generated ([0-9a-f]{8}):[^>]*-->\n(.*?)" + END, re.DOTALL)


def write(folder: Path) -> None:
    """Write the folder's card, README.md."""
    (folder / "README.md").write_text(text_of(folder))


def text_of(folder: Path) -> str:
    """The card of a model folder, from its config.json, metrics.json, trust.json and figures."""
    config, trust = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "trust"))
    metrics = read_metrics(folder / "metrics.json")
    size = (folder / "model.safetensors").stat().st_size
    figures = [name for name in SHOWN_FIGURES if (folder / "figures" / f"{name}.png").is_file()]
    quantized = json.loads((folder / QUANTIZED_RECORD).read_text()) if may_quantize(folder) else None
    return fill(folder.resolve().name, config, metrics, trust, size, figures, quantized)


def merge(theirs: str | None, ours: str) -> str:
    """Our card, renewed, where theirs is as it was generated; otherwise theirs, with what is RENEWED of our metadata.

    Of the rest of the metadata a person's values stand.
    """
    if theirs is None:
        return ours
    card, fresh = ModelCard(theirs), ModelCard(ours)
    if not is_edited(card.text):
        part = _MARKED.search(card.text)
        card.text = card.text[: part.start()] + _MARKED.search(fresh.text)[0] + card.text[part.end() :]
    for key in RENEWED:
        card.data.__dict__.pop(key, None)
    for key, value in fresh.data.__dict__.items():
        if card.data.get(key) is None:
            card.data[key] = value
    return str(card)


def marked(body: str) -> str:
    """A body as the generated part of a card."""
    return f"{BEGIN.format(digest=_digest(body))}\n{body}{END}\n"


def is_marked(theirs: str) -> bool:
    """Whether a card has a generated part, changed or not."""
    return _MARKED.search(theirs) is not None


def is_edited(theirs: str) -> bool:
    """Whether a person changed the generated part of a card, or the card is a person's altogether."""
    part = _MARKED.search(theirs)
    return part is None or part[1] != _digest(part[2])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _metadata(name: str, config: dict, metrics: dict) -> ModelCardData:
    """The front matter, with the metrics as the Hub shows them (model-index)."""
    timm = "pretrained_cfg" in config
    test = metrics["test"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type="chehablab/PBC",
            dataset_name="PBC",
            dataset_split="test",
            metric_type=key,
            metric_name=f"{text}, 95 % interval {test[f'{key}_low']:.4f} to {test[f'{key}_high']:.4f}",
            metric_value=round(test[key], 4),
        )
        for key, text in MEASURES.items()
    ]
    return ModelCardData(
        license="cc-by-4.0",
        library_name="timm" if timm else "transformers",
        pipeline_tag="image-classification",
        tags=["image-classification", *(["timm"] if timm else []), "transformers", "blood-cells", "hematology"],
        datasets=["chehablab/PBC"],
        metrics=["accuracy"],
        model_name=name,
        eval_results=results,
    )


def fill(
    name: str,
    config: dict,
    metrics: dict,
    trust: dict,
    size: int,
    figures: Sequence[str] = (),
    quantized: dict | None = None,
) -> str:
    """The card's text. `size` is that of the weights in bytes; the dicts are the JSON files of a model folder.

    `figures` are those of SHOWN_FIGURES that lie in it; `quantized` is there if the quantised network serves.
    """
    test, pictures = metrics["test"], metrics["pictures"]
    timm = "pretrained_cfg" in config  # timm's layout; transformers' own has a preprocessor_config.json beside it
    labels = list(test["confusion"])
    body = Template(TEMPLATE.read_text()).substitute(
        name=name,
        architecture=metrics["architecture"],
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
        unfamiliar=_unfamiliar(metrics.get("unfamiliar")),
        prediction_set=_prediction_set(metrics.get("prediction_set")),
        quantized=_quantized(quantized, metrics.get("backend")),
        all_pictures=f"{sum(pictures.values()):,}",
        start=f"the weights `{metrics['pretrained']}`" if metrics["pretrained"] else "nothing (no pretrained weights)",
        teacher=f", learning from `{metrics['teacher']}` beside the labels" if metrics.get("teacher") else "",
        originals="" if metrics["picture_format"] == "JPEG" else ORIGINALS,
        train_pictures=f"{pictures['train']:,}",
        validation_pictures=f"{pictures['validation']:,}",
        **{key: metrics[key] for key in ("recipe", "picture_format", "seed", "temperature")},
        command=command(metrics),
        seconds=f"{metrics['time']['seconds']:,}",
        commit=f"`{metrics['commit']}`" if metrics.get("commit") else "not recorded",
        pictures="".join(f"![{SHOWN_FIGURES[figure]}](figures/{figure}.png)\n\n" for figure in figures),
        **{key: metrics[key] for key in ("device", "torch", "date")},
    )
    return f"---\n{_metadata(name, config, metrics)}\n---\n\n{marked(body)}"


def _unfamiliar(measured: dict | None) -> str:
    return Template(UNFAMILIAR).substitute(share=f"{measured['share']:.1%}") if measured else ""


def _prediction_set(measured: dict | None) -> str:
    if not measured:
        return ""
    figures = {"threshold": f"{measured['from']:.3f}", "coverage": f"{measured['coverage']:.1%}"}
    return Template(PREDICTION_SET).substitute(figures, mean_size=f"{measured['mean_size']:.2f}")


def _quantized(measured: dict | None, backend: str | None) -> str:
    if measured is None:
        return ""
    fall = 100 * measured["fall"]
    fall = f"{abs(fall):.2f} points {'less' if fall > 0 else 'more'} than in PyTorch" if round(fall, 2) else "as in PyTorch"
    text = Template(QUANTIZED).substitute(
        pictures=f"{measured['pictures']:,}",
        part=measured.get("part", "test"),  # older records are of the test pictures, and do not say so
        fall=fall,
        same=f"{measured['same_answer']:.2%}",
    )
    if backend == "int8":
        return text + FIGURES_OF_8_BITS
    test = measured if "part" not in measured else measured.get("test")
    if not test:
        return text
    return text + Template(TEST_IN_8_BITS).substitute(
        pictures=f"{test['pictures']:,}", accuracy=f"{test['accuracy']:.4f}", unfamiliar=f"{test['unfamiliar']:.1%}"
    )
