"""Model folder -> model card. A pure function fills the template card.md from plain values.

The generated text stands between two marks, and the first mark holds a digest of it. The digest shows whether a person edited
the generated text; a person's words, outside the marks or between them, are kept.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from cells.classes import NAMES
from cells.measures import HOME, HUB_ID, MEASURES, commands, interval, read_metrics, split_name, trained_on
from cells.messages import first_line
from cells.model.folder import ADAPTED_FILE, QUANTIZED_RECORD, may_quantize, read_classes
from cells.model.folder import version as version_of
from cells.write import adapted_card
from hub import laboratories
from hub.laboratories import LABORATORIES
from hub.messages import HubError, readable

RECOMPUTED = "\n  Batch-norm statistics were recomputed on clean pictures."
README = "README.md"
TEMPLATE = Path(__file__).with_name("card.md")
SHOWN_ERRORS = 8
CLASSES = {8: "eight types", 10: "ten classes", 13: "thirteen subtypes"}  # by how many; others are a number of classes
SHOWN_FIGURES = {"confusion": "Confusion matrix of the test pictures", "training": "Loss and validation accuracy by epoch"}
TIMM = """
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # "hf-hub:USER/NAME" from the Hub
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
"""
AVERAGED = " The weights\n  are the mean of those of {count} runs (`python -m train average`)."
ORIGINALS = "\nThe Hub's dataset of PBC holds the originals, in JPEG, so a run on it will not give exactly these figures.\n"
UNFAMILIAR = """
A picture whose features lie far from those of the training pictures gets the status `unfamiliar`, as $share of the test
pictures do.$untried
"""
CALIBRATION = (
    " In the\n  laboratories of the training the probabilities are too low on average, since the temperature has to hold in "
    "others too."
)
BEFORE = """
`results/README.md` in the repository has the commands and the seconds of the run before, and the command of the thresholds.
"""
RECALL = """Recall on the validation pictures of each laboratory, in brackets their number:

| type | $laboratories |
| --- | $rule |
$rows

"""
LEFT_OUT = " and on laboratories that other runs left out"
UNTRIED = " This was not tried on another laboratory's pictures."
PREDICTION_SET = """
The prediction set of a picture holds the types with a probability of at least $threshold. The threshold was set so that the
true type is in the set for 99 % of the validation pictures; for the test pictures it is in $coverage, with $mean_size types
on average.
"""
QUANTIZED = """
On a processor the project's page and command line run it with ONNX Runtime in 8 bits (`onnx/model_quantized.onnx`). This was
chosen on the $pictures $part pictures: the accuracy is $fall, and $same of the answers are the same.
"""
FIGURES_OF_8_BITS = """All figures above are those of 8 bits.
"""
TEST_IN_8_BITS = """On the $pictures test pictures the accuracy in 8 bits is $accuracy, and $unfamiliar are unfamiliar.
"""
BEGIN = (
    "<!-- generated {digest}: words outside these marks are yours and stay; if you change those between them, they stay too -->"
)
END = "<!-- end of the generated part -->"
# Metadata that is measured, that says what the files are, or that decides how a Space is built: no person writes it.
RENEWED = (
    *("eval_results", "model_name", "library_name", "datasets"),
    *("configs", "size_categories"),
    *("sdk", "sdk_version", "python_version", "app_file", "models", "preload_from_hub"),
)
LICENCE = ("license", "license_name", "license_link")
OUR_LICENCES = ({"license": "cc-by-4.0"}, {"license": "other", "license_name": "see-card"})  # pictures of PBC alone; of others
_MARKED = re.compile(r"<!-- generated ([0-9a-f]{8}):[^>]*-->\n(.*?)" + END, re.DOTALL)


def write(folder: Path) -> str:
    """Write the folder's card, README.md, as renewed() has it; its text. Raises HubError, ModelError."""
    text = renewed(folder)
    (folder / README).write_text(text, encoding="utf-8")
    return text


def renewed(folder: Path) -> str:
    """The card of a model folder, with what a person wrote in its README.md. Raises HubError, ModelError."""
    with readable(folder):
        return merge(_written(folder), text_of(folder), str(folder / README))


def _written(folder: Path) -> str | None:
    """README.md of a model folder, None where there is none. What `adapt` wrote is a generated part, though it has no marks."""
    if not (folder / README).is_file():
        return None
    text = (folder / README).read_text(encoding="utf-8")
    if (folder / ADAPTED_FILE).is_file() and not is_marked(text):
        name = text.partition(":")[0].removeprefix("# ")  # the folder may have another by now
        body = adapted_card.body(folder, name)
        return text.replace(body, marked(body))
    return text


def text_of(folder: Path) -> str:
    """The generated card, from the config.json, metrics.json, trust.json and figures of a model folder, or its adapted.json.

    Raises whatever a damaged file of these makes it raise.
    """
    if (folder / ADAPTED_FILE).is_file():
        return f"---\n{_adapted_metadata(folder)}\n---\n\n{marked(adapted_card.body(folder))}"
    config, trust = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "trust"))
    metrics = read_metrics(folder / "metrics.json")
    size = (folder / "model.safetensors").stat().st_size
    figures = [name for name in SHOWN_FIGURES if (folder / "figures" / f"{name}.png").is_file()]
    quantized = json.loads((folder / QUANTIZED_RECORD).read_text()) if may_quantize(folder) else None
    classes = read_classes(folder, list(metrics["test"]["confusion"]))
    names = NAMES | {each.name: each.english for each in classes}
    return fill(folder.resolve().name, config, metrics, trust, size, names, figures, quantized, version_of(folder))


def merge(published: str | None, ours: str, name: str = README) -> str:
    """The card to publish: `ours` where nothing is published yet, otherwise the published card, renewed.

    A person's words in `ours` are taken where the published card has none. The generated part is renewed unless a person
    edited it. Of the metadata, the keys in RENEWED are ours, the licence unless a person chose another, and of the others
    those that the published card lacks.

    Raises HubError for a published card with broken metadata; `name` is what the error calls it.
    """
    if published is None:
        return ours
    try:
        card = ModelCard(published, ignore_metadata_errors=True)  # of the figures, which are renewed
    except Exception as error:  # whatever YAML and the Hub's client raise of what a person wrote
        raise HubError("card_broken", card=name, reason=first_line(error)) from error
    fresh = ModelCard(ours)
    if not words(card.text):
        card.text = fresh.text
    elif not is_edited(card.text) and is_marked(fresh.text):
        part = _MARKED.search(card.text)
        card.text = card.text[: part.start()] + _MARKED.search(fresh.text)[0] + card.text[part.end() :]
    card.data.__dict__ = _metadata_to_publish(vars(card.data), vars(fresh.data))
    return str(card)


def _metadata_to_publish(published: Mapping, ours: Mapping) -> dict:
    """What is published, without what is renewed, and ours for the rest."""
    licence = LICENCE if _has_own_licence(published) else ()
    renewed = RENEWED if licence else (*RENEWED, *LICENCE)
    kept = {key: value for key, value in published.items() if value is not None and key not in renewed}
    return {key: value for key, value in ours.items() if key not in licence} | kept


def _has_own_licence(published: Mapping) -> bool:
    """Whether a person chose the licence of a card: one of its keys has a value that this program does not write."""
    return any(published.get(key) not in [one.get(key) for one in ({}, *OUR_LICENCES)] for key in LICENCE)


def marked(body: str) -> str:
    """A body as the generated part of a card."""
    return f"{BEGIN.format(digest=_digest(body))}\n{body}{END}\n"


def is_marked(text: str) -> bool:
    """Whether a card has a generated part, changed or not."""
    return _MARKED.search(text) is not None


def is_edited(text: str) -> bool:
    """Whether a person changed the generated part of a card, or wrote the whole card."""
    part = _MARKED.search(text)
    return part is None or part[1] != _digest(part[2])


def words(text: str) -> str:
    """What a person wrote in a card below its metadata: all of it where they changed the generated part."""
    body = REGEX_YAML_BLOCK.sub("", text)
    return (body if is_edited(body) else _MARKED.sub("", body)).strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _metadata(name: str, config: dict, metrics: dict) -> ModelCardData:
    """The front matter, with the metrics as the Hub shows them (model-index)."""
    names = trained_on(metrics)
    tested = metrics.get("test_by_source") or {names[0]: metrics["test"]}
    results = [result for source, test in tested.items() for result in _results(source, test)]
    # The pictures of several laboratories come with several licences, which the card names.
    return ModelCardData(
        **OUR_LICENCES[0 if names == [HOME] else 1],
        **_of_network(name, config),
        datasets=[HUB_ID] if HOME in names else None,
        metrics=["accuracy"],
        eval_results=results,
    )


def _adapted_metadata(folder: Path) -> ModelCardData:
    config = json.loads((folder / "config.json").read_text())
    return ModelCardData(**OUR_LICENCES[1], **_of_network(folder.resolve().name, config))


def _of_network(name: str, config: dict) -> dict:
    """What the front matter says whatever the pictures were."""
    timm = "pretrained_cfg" in config
    return {
        "library_name": "timm" if timm else "transformers",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", *(["timm"] if timm else []), "transformers", "blood-cells", "hematology"],
        "model_name": name,
    }


def _results(source: str, test: Mapping) -> list[EvalResult]:
    """The metrics of the test pictures of a laboratory, as far as its classes let them be computed."""
    known = LABORATORIES.get(source)
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=known.dataset if known else source,
            dataset_name="PBC" if source == HOME else known.title if known else source,
            dataset_split="test",
            metric_type=key,
            metric_name=f"{text}, 95 % interval {test[f'{key}_low']:.4f} to {test[f'{key}_high']:.4f}",
            metric_value=round(test[key], 4),
        )
        for key, text in MEASURES.items()
        if math.isfinite(test[key])
    ]


def fill(
    name: str,
    config: dict,
    metrics: dict,
    trust: dict,
    size: int,
    names: Mapping[str, str] = NAMES,
    figures: Sequence[str] = (),
    quantized: dict | None = None,
    version: str = "",
) -> str:
    """The card's text. `size` is that of the weights in bytes; the dicts are the JSON files of a model folder.

    `names` are the words for its labels and for the subtypes; a label that it lacks stands as it is.
    `figures` are those of SHOWN_FIGURES that the folder has; `quantized` is given where the quantised network serves.
    """
    timm = "pretrained_cfg" in config  # timm's layout; transformers' own has a preprocessor_config.json beside it
    labels, training = list(metrics["test"]["confusion"]), _training(name, metrics)
    of_laboratories = laboratories.words(metrics, labels)
    of_laboratories["data"] = Template(of_laboratories["data"]).substitute(training)
    body = Template(TEMPLATE.read_text()).substitute(
        _tables(metrics["test"], labels, names),
        name=name,
        version=version,
        backend="int8" if quantized else "fp32",
        timm=TIMM if timm else "",
        timm_package=" timm" if timm else "",
        answers=_answers(labels, names),
        batch_norm=RECOMPUTED if metrics.get("batch_norm_recomputed", timm) else "",
        classes=CLASSES.get(len(labels), f"{len(labels)} classes"),
        megabytes=f"{size / 1e6:.1f}",
        review_below=_review_below(trust["review_below"], [names.get(label, label) for label in labels]),
        review_share=f"{metrics['review']['share']:.1%}",
        review_caught=f"{metrics['review']['caught']:.0%}",
        unfamiliar=_unfamiliar(metrics.get("unfamiliar"), UNTRIED if laboratories.is_home_alone(metrics) else ""),
        prediction_set=_prediction_set(metrics.get("prediction_set")),
        quantized=_quantized(quantized, metrics.get("backend")),
        left_out=LEFT_OUT if metrics.get("left_out") else "",
        calibration=CALIBRATION if metrics.get("left_out") else "",
        validation_recall=_validation_recall(metrics.get("validation_recall"), labels, names),
        before=BEFORE if str(metrics["pretrained"]).startswith("runs/") else "",
        blast=laboratories.blast_text(metrics.get("blast")),
        **of_laboratories,
        **training,
        pictures="".join(f"![{SHOWN_FIGURES[figure]}](figures/{figure}.png)\n\n" for figure in figures),
    )
    return f"---\n{_metadata(name, config, metrics)}\n---\n\n{marked(body)}"


def _answers(labels: Sequence[str], names: Mapping[str, str]) -> str:
    """What the network itself calls its classes, where these are not the words of the card; empty where they are."""
    others = [f"`{label}` for {names[label]}" for label in labels if names.get(label, label) != label]
    return f"It answers with these words, but {' and '.join(others)}.\n" if others else ""


def _tables(test: dict, labels: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """The card's tables, from the part `test` of a metrics.json."""

    def name(label: str) -> str:
        return names.get(label, label)

    columns = [name(label) for label in labels]
    recall = (f"| {name(label)} | {share:.4f} | {sum(test['confusion'][label])} |" for label, share in test["recall"].items())
    confusion = (f"| {name(label)} | {' | '.join(map(str, test['confusion'][label]))} |" for label in labels)
    errors = (
        f"| {name(row['subtype'])} | {name(row['prediction'])} | {row['count']} |"
        for row in test["errors_by_subtype"][:SHOWN_ERRORS]
    )
    return {
        "labels": ", ".join(columns),
        "test_pictures": f"{test['pictures']:,}",
        "metrics": "\n".join(f"| {text} | {interval(test, key)} |" for key, text in MEASURES.items()),
        "recall": "\n".join(recall),
        "columns": " | ".join(columns),
        "rule": " | ".join(["---"] * len(labels)),
        "confusion": "\n".join(confusion),
        "errors": "\n".join(errors),
    }


def _validation_recall(measured: Mapping | None, labels: Sequence[str], names: Mapping[str, str]) -> str:
    if not measured:
        return ""

    def cell(of: Mapping, label: str) -> str:
        return f"{of[label]['recall']:.3f} ({of[label]['pictures']:,})" if label in of else ""

    rows = (f"| {names.get(label, label)} | {' | '.join(cell(of, label) for of in measured.values())} |" for label in labels)
    return Template(RECALL).substitute(
        laboratories=" | ".join(map(laboratories.title, measured)),
        rule=" | ".join(["---"] * len(measured)),
        rows="\n".join(rows),
    )


def _training(name: str, metrics: dict) -> dict[str, object]:
    """What the card says of the network and its training, from a metrics.json."""
    pictures = metrics["pictures"]
    as_they_are = ("architecture", "image_size", "recipe", "picture_format", "seed", "temperature", "device", "torch", "date")
    return {key: metrics[key] for key in as_they_are} | {
        "parameters": f"{metrics['parameters'] / 1e6:.1f} million",
        "all_pictures": f"{sum(pictures.values()):,}",
        "train_pictures": f"{pictures['train']:,}",
        "validation_pictures": f"{pictures['validation']:,}",
        "start": f"the weights `{metrics['pretrained']}`" if metrics["pretrained"] else "nothing (no pretrained weights)",
        "teacher": f", learning from `{metrics['teacher']}` beside the labels" if metrics.get("teacher") else "",
        "averaged": AVERAGED.format(count=len(metrics["averaged"])) if "averaged" in metrics else "",
        "originals": "" if metrics["picture_format"] == "JPEG" or HOME not in trained_on(metrics) else ORIGINALS,
        "commands": "\n".join(commands(metrics, split_name(metrics), name)),
        "seconds": f"{metrics['time']['seconds']:,}",
        "commit": f"`{metrics['commit']}`" if metrics.get("commit") else "not recorded",
    }


def _review_below(threshold: float | Sequence[float], names: Sequence[str]) -> str:
    """The end of "below a probability": of one threshold, or of one for each class."""
    if isinstance(threshold, float):
        return f" of {threshold:.3f}"
    listed = (f"{name} {f'{one:.3f}' if one <= 1 else 'always'}" for name, one in zip(names, threshold, strict=True))
    return f" that depends on the class ({', '.join(listed)})"


def _unfamiliar(measured: dict | None, untried: str) -> str:
    return Template(UNFAMILIAR).substitute(share=f"{measured['share']:.1%}", untried=untried) if measured else ""


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
