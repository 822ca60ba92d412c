"""Finished runs -> results/README.md, with the table of the thesis beside ours: python -m train compare RUN..."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template

import pandas as pd
from matplotlib import pyplot as plt

from cells.classes import TYPE_OF_SUBTYPE, english
from cells.measures import HUB_ID, MEASURES, commands, interval, read_metrics, split_name, trained_on
from cells.model import batch_statistics
from cells.model.uncertainty import Uncertainty
from train import figures, metrics, options, paired, report
from train.laboratories import card_row
from train.studies import degraded, equal_budget

TEMPLATE, SECTION = Path(__file__).with_name("compare.md"), Path(__file__).with_name("compare_run.md")
KEPT = ("metrics.json", "predictions.csv", "validation.csv", "history.csv", "recipe.json")
SHOWN_ERRORS = 10
ROLES = {True: "learnt from", False: "never seen"}  # by whether a model has learnt from a laboratory
BACKENDS = {"torch": "PyTorch", "fp32": "ONNX Runtime in 32 bits", "int8": "ONNX Runtime in 8 bits"}

# our architecture: (the thesis's name, balanced accuracy, accuracy, Cohen's kappa, error rate), with the digits of the thesis.
THESIS = {
    "resnet18": ("ResNet18", "0.98", "0.99", "0.98", "0.012"),
    "resnet34": ("ResNet34", "0.99", "0.99", "0.98", "0.010"),
    "vit_base": ("ViT-Base", "0.94", "0.95", "0.94", "0.05"),
    "vit_large": ("ViT-Large", "0.95", "0.96", "0.95", "0.03"),
}


def main(arguments: list[str]) -> int:
    """The command."""
    parser = options.parser("compare", "Collect finished runs in a folder and write its README.md, which compares them.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or one that was collected before")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER", help="default results")
    chosen = parser.parse_args(arguments)
    report.check_finished(chosen.runs)
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(chosen.runs, chosen.out)
    print(chosen.out / "README.md")
    return 0


def write(runs: list[Path], out: Path) -> None:
    """Collect what may be published of each run (no picture of the dataset) in out/RUN, then write out/README.md."""
    folders = [collect(run, out) for run in runs]
    summaries = {folder.name: read_metrics(folder / "metrics.json") for folder in folders}
    speed = pd.read_csv(out / "speed.csv") if (out / "speed.csv").exists() else None
    predictions = {folder.name: pd.read_csv(folder / "predictions.csv", keep_default_na=False) for folder in folders}
    figure = accuracy_and_time(summaries)
    figure.savefig(out / "accuracy_and_time.png", dpi=120)
    plt.close(figure)
    text = Template(TEMPLATE.read_text()).substitute(
        runs=" ".join(f"results/{name}" for name in summaries),
        notes=_text(out / "notes.md"),
        table="\n".join(_table(summaries)),
        equal_budget=equal_budget.section(out),
        differences="\n".join(_differences(predictions)),
        times="\n".join(_time(name, summaries) for name in summaries),
        laboratories=_laboratories(out, summaries),
        batch_statistics=_batch_statistics(out),
        unknown_types=_unknown_types(out),
        ood_eval=_ood_eval(out),
        degraded=_degraded(out),
        speed="" if speed is None else _speed(speed, out),
        sections="\n".join(_section(folder, summaries, predictions[folder.name]) for folder in folders),
    )
    (out / "README.md").write_text(text)


def collect(run: Path, out: Path) -> Path:
    """Copy a finished run's files into out/RUN, unless the run is that folder; return out/RUN."""
    folder = out / run.resolve().name
    if run.resolve() == folder.resolve():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(run / name, folder / name)
    for figure in (run / "figures").glob("*.png"):
        if figure.stem not in figures.PICTURED and not _is_in(out, figure):
            shutil.copyfile(figure, folder / figure.name)
    common = out / split_name(read_metrics(run / "metrics.json"))
    if not common.exists() or common.read_bytes() != (run / "split.csv").read_bytes():
        shutil.copyfile(run / "split.csv", folder / "split.csv")
    return folder


def _is_in(out: Path, figure: Path) -> bool:
    """Whether a run in `out` has this very figure, as that of the numbers of pictures, which all runs of a split share."""
    return any(other.read_bytes() == figure.read_bytes() for other in out.glob(f"*/{figure.name}"))


def _chain(name: str, summaries: dict[str, dict]) -> list[str]:
    """The runs from whose weights a run carries on, the first one first, and itself."""
    parent = Path(summaries[name]["pretrained"] or "").parent.name
    return [*(_chain(parent, summaries) if parent in summaries else []), name]


def _seconds(name: str, summaries: dict[str, dict]) -> int:
    """Of training, summed over the runs from which it carries on."""
    return sum(summaries[one]["time"]["seconds"] for one in _chain(name, summaries))


def accuracy_and_time(summaries: dict[str, dict]) -> plt.Figure:
    """Test accuracy with its interval against minutes of training, those of the runs before it included; a point per run."""
    figure, axes = plt.subplots(figsize=(6.4, 5), layout="constrained")
    for name, summary in summaries.items():
        test, minutes = summary["test"], _seconds(name, summaries) / 60
        limits = [[test["accuracy"] - test["accuracy_low"]], [test["accuracy_high"] - test["accuracy"]]]
        words = f"{name}, {summary['device']}, {_precision(summary)}"
        axes.errorbar(minutes, test["accuracy"], limits, fmt="o", capsize=3, label=words)
    axes.set(xlabel="minutes of training", ylabel="test accuracy")
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    axes.grid(alpha=0.3)
    return figure


def _table(summaries: dict[str, dict]) -> list[str]:
    """The thesis's rows, and after each our runs of the same architecture; then the rest of ours."""
    rows, rest = [], dict(summaries)
    for architecture, (network, *values) in THESIS.items():
        rows.append(f"| {network}, thesis | {' | '.join(values)} | | | 224 px | |")
        for name in [name for name, summary in rest.items() if summary["architecture"] == architecture]:
            rows.append(_row(name, rest.pop(name)))
    return rows + [_row(name, summary) for name, summary in rest.items()]


def _row(name: str, summary: dict) -> str:
    keys = ("balanced_accuracy", "accuracy", "kappa", "error_rate", "macro_f1")
    values = [interval(summary["test"], key) for key in keys]
    size = f"{summary['parameters'] / 1e6:.1f} million"
    return f"| [{name}](#{name}) | {' | '.join(values)} | {size} | {summary['image_size']} px | {_backend(summary)} |"


def _backend(summary: dict) -> str:
    """What made the predictions."""
    return BACKENDS[summary.get("backend", "torch")]


def _differences(predictions: dict[str, pd.DataFrame]) -> list[str]:
    """A row for each two runs; none where they have other test pictures."""
    try:
        right = dict(zip(predictions, paired.right_of(list(predictions.values()))[:, None], strict=True))
    except ValueError:
        return []
    return [one.row() for one in paired.differences(right)]


def _time(name: str, summaries: dict[str, dict]) -> str:
    summary = summaries[name]
    took = summary["time"]
    unknown = "not recorded"
    memory = unknown if took["peak_memory_mb"] is None else f"{took['peak_memory_mb']:,} MB"
    share = unknown if took["data_share"] is None else f"{took['data_share']:.1%}"
    return (
        f"| {name} | {took['epochs']} | {took['seconds']:,} | {_seconds(name, summaries):,} | {took['seconds_per_epoch']} | "
        f"{took['images_per_second']} | "
        f"{took['images_per_second_at_full_size']} | {memory} | {share} | {summary['device']} | {_precision(summary)} |"
    )


def _precision(summary: dict) -> str:
    """Of training; an older run was in float32."""
    return summary.get("mixed_precision", "no").replace("no", "float32")


def _speed(speed: pd.DataFrame, out: Path) -> str:
    rows = [
        f"| {row.architecture}{_patch(row)} | {row.parameters / 1e6:.1f} million | {row.images_per_second:.2f} | "
        f"{row.slowest:.2f} to {row.fastest:.2f} | {row.peak_memory_mb:,.0f} MB | {row.data_share:.1%} |"
        for row in speed.itertuples()
    ]
    first = speed.iloc[0]
    notes = (out / "speed.md").read_text() if (out / "speed.md").exists() else ""
    return Template((TEMPLATE.with_name("compare_speed.md")).read_text()).substitute(
        rows="\n".join(rows),
        notes=notes,
        **{key: first[key] for key in ("image_size", "batch_size", "device", "torch", "steps")},
        recipes=" ".join(speed["recipe"]),
    )


def _laboratories(out: Path, summaries: dict[str, dict]) -> str:
    """A row per model and laboratory, where they were measured, then those that other runs left out."""
    if not (out / "laboratories.csv").exists():
        return ""
    measured = pd.read_csv(out / "laboratories.csv")
    rows = [
        _of_laboratory(row.model, ROLES[row.trained], card_row(row._asdict()), _between(row)) for row in measured.itertuples()
    ]
    for name, summary in summaries.items():
        left_out = (row for row in summary.get("laboratories") or [] if row["role"] == "left out")
        rows += [_of_laboratory(name, "left out", row) for row in left_out]
    return Template(TEMPLATE.with_name("compare_laboratories.md").read_text()).substitute(
        rows="\n".join(rows),
        models=" ".join(measured["model"].unique()),
        notes=_text(out / "laboratories.md"),
    )


def _of_laboratory(model: str, role: str, row: dict, between: str = "") -> str:
    """`between` is the interval of the accuracy."""
    forms = {"balanced_accuracy": ".4f", "five_types": ".4f", "ece": ".4f", "ok_share": ".1%", "ok_correct": ".1%"}
    figures = ("" if row.get(key) is None else format(row[key], form) for key, form in forms.items())
    return (
        f"| `{model}` | {row['name']} | {role} | {row['pictures']:,} | {row['accuracy']:.4f}{between} | {' | '.join(figures)} |"
    )


def _between(row) -> str:
    """The interval of an accuracy, and over how many patients or slides."""
    of = f", {row.groups} groups" if row.groups else ""
    return f" ({row.accuracy_low:.4f} to {row.accuracy_high:.4f}{of})"


def _batch_statistics(out: Path) -> str:
    """A row per model and laboratory, a column per weight, where they were measured."""
    if not (out / "batch_statistics.csv").exists():
        return ""
    measured = pd.read_csv(out / "batch_statistics.csv", dtype={"model": str})
    weights = [f"{weight:g}" for weight in measured["weight"].unique()]
    rows = []
    for (model, laboratory), of_weights in measured.groupby(["model", "laboratory"], sort=False):
        first = of_weights.iloc[0]
        known = (f"`{model}`", laboratory, ROLES[first.trained], f"{first.pictures:,}", f"{first.unfamiliar_share:.1%}")
        scores = [f"{row.five_accuracy:.4f} ({row.accuracy:.4f})" for row in of_weights.itertuples()]
        rows.append(f"| {' | '.join((*known, 'yes' if first.used else 'no', *scores))} |")
    return Template(TEMPLATE.with_name("compare_batch_statistics.md").read_text()).substitute(
        weight=batch_statistics.WEIGHT,
        weights=" | ".join(weights),
        rule=" | ".join(["---"] * len(weights)),
        rows="\n".join(rows),
        notes=_text(out / "batch_statistics.md"),
    )


def _unknown_types(out: Path) -> str:
    """A row per model and type, where they were measured."""
    if not (out / "unknown_types.csv").exists():
        return ""
    measured = pd.read_csv(out / "unknown_types.csv")
    rows = []
    for row in measured.itertuples():
        suspected = "" if pd.isna(row.suspected_blast) else f"{row.suspected_blast:.1%}"
        shares = f"{row.ok:.1%} | {row.unfamiliar:.1%} | {suspected} | {row.answers}"
        rows.append(f"| `{row.model}` | {row.cell_type} | {row.pictures:,} | {row.groups} | {shares} |")
    return Template(TEMPLATE.with_name("compare_unknown_types.md").read_text()).substitute(
        rows="\n".join(rows), models=" ".join(measured["model"].unique())
    )


def _ood_eval(out: Path) -> str:
    """The shares called unfamiliar and ok, a row per kind and a column per model, where they were measured."""
    if not (out / "ood_eval.csv").exists():
        return ""
    measured = pd.read_csv(out / "ood_eval.csv")
    models = list(measured["model"].unique())
    rows = [
        " | ".join((f"| {kind}", f"{of_kind['pictures'].iloc[0]:,}", *map(_statuses, of_kind.itertuples()))) + " |"
        for kind, of_kind in measured.groupby("kind", sort=False)
    ]
    return Template(TEMPLATE.with_name("compare_ood_eval.md").read_text()).substitute(
        models=" | ".join(f"`{model}`" for model in models),
        rule=" | ".join(["---"] * len(models)),
        rows="\n".join(rows),
        names=" ".join(models),
    )


def _statuses(row) -> str:
    return f"{row.unfamiliar:.1%}, {row.ok:.1%}"


def _degraded(out: Path) -> str:
    """What each damage costs, a row per damage and strength and a column per model, where it was measured."""
    if not (out / "degraded.csv").exists():
        return ""
    measured = degraded.read(out / "degraded.csv")
    models, stresses = list(measured["model"].unique()), measured[["damage", "setting"]].drop_duplicates()
    cells = {(row.model, row.damage, row.setting): _stressed(row) for row in measured.itertuples()}
    rows = [
        f"| {damage}, {setting} | {' | '.join(cells.get((model, damage, setting), '') for model in models)} |"
        for damage, setting in stresses.itertuples(index=False)
    ]
    return Template(TEMPLATE.with_name("compare_degraded.md").read_text()).substitute(
        models=" | ".join(f"`{model}`" for model in models),
        rule=" | ".join(["---"] * len(models)),
        rows="\n".join(rows),
        commands="\n".join(_degraded_command(*group) for group in measured.groupby("every", sort=False)),
        notes=_text(out / "degraded.md"),
    )


def _degraded_command(every: int, measured: pd.DataFrame) -> str:
    words = f"python -m train degraded {' '.join(measured['model'].unique())} --data {HUB_ID} --split results/split.csv"
    return words if every == 1 else f"{words} --every {every}"


def _stressed(row) -> str:
    right = "" if pd.isna(row.ok_right) else f", {row.ok_right:.1%}"
    return f"{row.accuracy:.1%}, {row.ok:.1%}{right}"


def _patch(row) -> str:
    return f", patches of {row.patch_size:.0f}" if row.patch_size else ""


def _section(folder: Path, summaries: dict[str, dict], predictions: pd.DataFrame) -> str:
    summary = summaries[folder.name]
    test, validation = summary["test"], summary["validation"]
    pictured = "\n\n".join(
        f"![{figure.stem.replace('_', ' ')}]({folder.name}/{figure.name})" for figure in sorted(folder.glob("*.png"))
    )
    return Template(SECTION.read_text()).substitute(
        name=folder.name,
        commands="\n".join(
            line for one in _chain(folder.name, summaries) for line in _commands(folder.with_name(one), summaries[one])
        ),
        split=_split(folder, summary),
        pictures=", ".join(f"{count:,} {part}" for part, count in summary["pictures"].items()),
        weights=_weights(summary),
        seed=summary["seed"],
        image_size=summary["image_size"],
        start=_start(summary),
        backend=_backend(summary),
        provenance=_provenance(summary),
        measures="\n".join(f"| {MEASURES[key]} | {interval(test, key)} | {interval(validation, key)} |" for key in MEASURES),
        wrong=round(test["error_rate"] * test["pictures"]),
        errors="\n".join(
            f"| {english(row['subtype'])} | {english(row['prediction'])} | {row['count']} |"
            for row in test["errors_by_subtype"][:SHOWN_ERRORS]
        ),
        types="\n".join(_types(predictions, summary)),
        recall="\n".join(
            f"| {english(subtype)} | {(predictions['subtype'] == subtype).sum()} | {recall:.4f} |"
            for subtype, recall in sorted(test["recall_by_subtype"].items(), key=lambda item: item[1])
            if subtype in TYPE_OF_SUBTYPE
        ),
        review=_review(summary),
        review_share=f"{summary['review']['share']:.1%}",
        review_caught=f"{summary['review']['caught']:.0%}",
        uncertainty=_uncertainty(summary),
        distance=", and its distance from the training pictures" if summary.get("unfamiliar") else "",
        notes=_text(folder / "notes.md"),
        figures=pictured,
    )


def _weights(summary: dict) -> str:
    """Which weights the model has."""
    if "averaged" in summary:
        runs = " and ".join(f"`{name}`" for name in summary["averaged"])
        return f"the mean of those of {runs}, whose epochs follow each other in the figure"
    return f"those of epoch {summary['best_epoch']} of {summary['time']['epochs']}, the best by balanced accuracy on validation"


def _provenance(summary: dict) -> str:
    """With what the run was made, as far as it noted that."""
    libraries = ", ".join(
        f"{name} {number}" for name, number in {"torch": summary["torch"], **summary.get("versions", {})}.items()
    )
    commit = f"commit `{summary['commit']}`" if summary.get("commit") else "a commit that was not recorded"
    several = trained_on(summary)
    mixed = (
        f"\nThe validation pictures are of {', '.join(several)}; their intervals take pictures as independent, though those of "
        "one patient are alike."
    )
    return f"Made at {commit} with {libraries}, finished {summary['date']}.{mixed * (len(several) > 1)}"


def _commands(folder: Path, summary: dict) -> list[str]:
    """The lines that make a run again."""
    return commands(summary, _split(folder, summary), "" if folder.name == summary["recipe"] else folder.name)


def _split(folder: Path, summary: dict) -> str:
    """The split of a run, as seen from where its folder lies: its own, or one of those that runs have in common."""
    return f"{folder.name}/split.csv" if (folder / "split.csv").exists() else split_name(summary)


def _rule(summary: dict, labels: Sequence[str]) -> Uncertainty:
    """The part of a run's rule of uncertainty that decides which pictures get the status `review`."""
    of_class = summary.get("left_out", {}).get("review_below")
    below = tuple(of_class[label] for label in labels) if of_class else summary["review"]["below"]
    return Uncertainty(review_below=below, blast_from=(summary.get("blast") or {}).get("threshold"))


def _types(predictions: pd.DataFrame, summary: dict) -> Iterator[str]:
    """Recall, precision and F1 of each type, and the share of its pictures that go to a person."""
    labels = metrics.labels_of(predictions)
    needs_review = metrics.needs_review(predictions, _rule(summary, labels))
    for label in labels:
        truth = predictions["label"] == label
        if truth.any():
            scores = metrics.recall_precision_f1(truth, predictions["prediction"] == label)
            columns = [*(f"{score:.4f}" for score in scores), f"{needs_review[truth].mean():.1%}"]
            yield f"| {english(label)} | {truth.sum()} | {' | '.join(columns)} |"


def _review(summary: dict) -> str:
    """Where the thresholds of `review` come from, up to the share that they send to a person."""
    below = f"{summary['review']['below']:.3f}"
    if summary.get("left_out"):
        return (
            f"Each class has a probability, {below} and more, below which a cell goes to a person. It was chosen on validation "
            "pictures\nand on laboratories that other runs left out, by the command of `train uncertainty` "
            "[above](#laboratories)."
        )
    return f"Below a probability of {below}, the threshold that sends 4 % of the validation pictures to a person,"


def _uncertainty(summary: dict) -> str:
    """The paragraph on unfamiliar pictures and prediction sets, for a run that has them."""
    if not summary.get("unfamiliar"):
        return ""
    far, sets = summary["unfamiliar"], summary["prediction_set"]
    several = "about 1 % of each laboratory's validation pictures so"
    validation = several if summary.get("left_out") else "1 % of the validation pictures so"
    return (
        f"\n\n{far['share']:.1%} of the test pictures are called unfamiliar, by the threshold that calls {validation}, "
        f"with\n{far['caught']:.0%} of the errors among them. The types with a probability of at least "
        f"{sets['from']:.3f} are the prediction set: it holds the label\nof {sets['coverage']:.1%} of the test pictures (99 % "
        f"of the validation pictures) and has {sets['mean_size']:.3f} types on average."
    )


def _start(summary: dict) -> str:
    start = f"the weights `{summary['pretrained']}`" if summary["pretrained"] else "nothing"
    return start + (f", taught by `{summary['teacher']}`" if summary.get("teacher") else "")


def _text(file: Path) -> str:
    """Notes that a person wrote; empty where there are none."""
    return file.read_text().strip() if file.exists() else ""
