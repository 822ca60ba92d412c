"""The figures of a run: which files there are, and that what a reader takes from them is in the tables."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from cells.classes import LABELS, SUBTYPE_LABELS, SUBTYPES, TYPE_OF_SUBTYPE
from train import figures, metrics

FILES = {
    *("class_counts", "samples", "training", "confusion", "confusion_normalised", "most_confused", "top_losses"),
    *("random_predictions", "reliability", "recall_by_subtype"),
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


class Album:
    """A picture of any image_id; remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, image_id: str) -> Image.Image:
        self.asked.append(image_id)
        return Image.new("RGB", (12, 12), (250, 232, 214))


def table(labels: tuple[str, ...], rows: list[tuple[str, str, str, float]]) -> pd.DataFrame:
    """Predictions from (label, subtype, prediction, its probability); the other classes share the rest evenly."""
    probabilities = np.array([np.full(len(labels), (1 - row[3]) / (len(labels) - 1)) for row in rows])
    for vector, (_, _, prediction, probability) in zip(probabilities, rows, strict=True):
        vector[labels.index(prediction)] = probability
    truth = [labels.index(row[0]) for row in rows]
    frame = pd.DataFrame([row[:3] for row in rows], columns=["label", "subtype", "prediction"])
    frame.insert(0, "image_id", [f"{row[1]}_{index}" for index, row in enumerate(rows)])
    frame[[f"p_{name}" for name in labels]] = probabilities
    return frame.assign(loss=-np.log(probabilities[range(len(rows)), truth]))


def right(subtype: str, probability: float = 0.97) -> tuple[str, str, str, float]:
    return TYPE_OF_SUBTYPE[subtype], subtype, TYPE_OF_SUBTYPE[subtype], probability


@pytest.fixture
def mixed() -> pd.DataFrame:
    """50 pictures of 8 types, 6 of them errors, in three pairs of 3, 2 and 1."""
    errors = [
        *[("ig", "MMY", "neutrophil", probability) for probability in (0.6, 0.99, 0.7)],
        *[("neutrophil", "BNE", "ig", probability) for probability in (0.9, 0.8)],
        ("monocyte", "MO", "lymphocyte", 0.95),
    ]
    return table(LABELS, errors + [right(code) for code in SUBTYPE_LABELS] * 3 + [right("SNE", 0.75)] * 5)


@pytest.fixture
def history() -> pd.DataFrame:
    """Six epochs; the best balanced accuracy of all is at a smaller size, so it is not the one kept."""
    balanced = [0.2, 0.5, 0.95, 0.7, 0.9, 0.8]
    return pd.DataFrame(
        {
            "epoch": range(1, 7),
            "size": [64, 64, 64, 128, 128, 128],
            "train_loss": [2.0, 1.5, 1.0, 1.1, 0.9, 0.8],
            "validation_loss": [2.1, 1.4, 0.9, 0.8, 0.6, 0.7],
            "validation_accuracy": balanced,
            "validation_balanced_accuracy": balanced,
            "seconds": 1.0,
            "images_per_second": 100.0,
        }
    )


@pytest.fixture
def counts() -> pd.DataFrame:
    """Ten pictures of each subtype: 6 to train on, 1 to validate, 3 to test."""
    rows = [
        (
            f"{subtype.name}_{number}",
            subtype.cell_type,
            subtype.name,
            "train" if number < 6 else "validation" if number < 7 else "test",
        )
        for subtype in SUBTYPES
        for number in range(10)
    ]
    return pd.DataFrame(rows, columns=["image_id", "cell_type", "cell_subtype", "split"])


def texts(axes: plt.Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def titles(figure: plt.Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.images]


def names(ticks: list) -> list[str]:
    return [tick.get_text() for tick in ticks]


def thirteen() -> pd.DataFrame:
    rows = [(code, code, code, 0.9) for code in SUBTYPE_LABELS] * 2 + [("BNE", "BNE", "SNE", 0.7), ("MMY", "MMY", "BNE", 0.6)]
    return table(SUBTYPE_LABELS, rows)


def without_error_and_monocytes() -> pd.DataFrame:
    return table(LABELS, [right(code) for code in SUBTYPE_LABELS if code != "MO"])


def with_a_class_of_ones_own() -> pd.DataFrame:
    labels = [*LABELS, "plasma cell"]
    return table(
        labels, [right(code) for code in SUBTYPE_LABELS] + [("plasma cell", "", "ig", 0.6), ("ig", "", "plasma cell", 0.6)]
    )


@pytest.mark.parametrize("made", [thirteen, without_error_and_monocytes, with_a_class_of_ones_own])
def test_every_figure_of_every_kind_of_run(made, history, counts, tmp_path):
    predictions = made()
    if made is without_error_and_monocytes:
        counts, history = counts[counts["cell_type"] != "monocyte"], history.head(1)
    figures.draw_all(predictions, history, 1, counts, Album(), tmp_path / "figures")
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == FILES
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert image.width > 400
    assert not plt.get_fignums()
    assert set(figures.PICTURED) < FILES


def test_only_the_named_figures_show_pictures(mixed, history, counts, tmp_path, monkeypatch):
    shown = []
    for name in FILES - {"confusion_normalised"}:
        monkeypatch.setattr(figures, name, lambda *given, name=name, **_: shown.append((name, given)) or plt.figure())
    album = Album()
    figures.draw_all(mixed, history, 5, counts, album, tmp_path)
    assert {name for name, given in shown if any(one is album for one in given)} == set(figures.PICTURED)


def test_class_counts_say_the_parts(counts):
    types, subtypes = figures.class_counts(counts[counts["cell_type"] != "monocyte"]).axes
    assert dict(zip(names(types.get_yticklabels()), texts(types), strict=True)) == {
        **dict.fromkeys(("basophil", "eosinophil", "erythroblast", "lymphocyte", "platelet"), "10 = 6 + 1 + 3"),
        "immature granulocyte": "40 = 24 + 4 + 12",
        "neutrophil": "30 = 18 + 3 + 9",
        "monocyte": "0 = 0 + 0 + 0",
    }
    assert len(texts(subtypes)) == 13
    train, validation, test = types.containers
    ig = LABELS.index("ig")
    assert [(bars[ig].get_x(), bars[ig].get_width()) for bars in (train, validation, test)] == [(0, 24), (24, 4), (28, 12)]


def test_samples_are_training_pictures_each_once_and_the_same_again(counts):
    first, again = Album(), Album()
    figure = figures.samples(counts, first)
    figures.samples(counts, again)
    assert first.asked == again.asked
    assert len(set(first.asked)) == len(first.asked) == 4 * len(LABELS)
    rows = counts.set_index("image_id").loc[first.asked]
    assert set(rows["split"]) == {"train"}
    assert rows["cell_type"].tolist() == [label for label in LABELS for _ in range(4)]
    column = [axes.get_title() for axes in figure.axes[3 :: len(LABELS)]]
    assert column == rows.loc[rows["cell_type"] == "ig", "cell_subtype"].tolist()


def test_class_counts_have_the_types_that_other_laboratories_add(counts):
    blasts = pd.DataFrame({"image_id": ["a", "b"], "cell_type": "blast", "cell_subtype": "", "split": ["train", "test"]})
    types, subtypes = figures.class_counts(pd.concat([counts, blasts])).axes
    assert dict(zip(names(types.get_yticklabels()), texts(types), strict=True))["blast"] == "2 = 1 + 0 + 1"
    assert (types.get_title()[:12], subtypes.get_title()[:12]) == ("132 pictures", "130 of these")


def test_a_mean_of_runs_is_the_model_of_no_epoch(history, mixed):
    losses = figures.training(history.assign(run=[*"aaabbb"]), mixed, None).axes[0]
    assert [len(line.get_xdata()) for line in losses.lines][:2] == [3, 3]  # one is not carried on from the other
    lines = {line.get_label(): line for line in losses.lines}
    assert set(lines["test, mean of the runs' weights, calibrated (scored once)"].get_ydata()) == {mixed["loss"].mean()}
    assert "D" not in {line.get_marker() for line in losses.lines}


def test_the_test_loss_is_one_point_at_the_best_epoch(history, mixed):
    losses = figures.training(history, mixed, 5).axes[0]
    lines = {line.get_label(): line for line in losses.lines}
    x, y = lines["test, best epoch, calibrated (scored once)"].get_data()
    assert (list(x), list(y)) == ([5], pytest.approx([mixed["loss"].mean()]))
    assert lines["validation"].get_ydata().tolist() == history["validation_loss"].tolist()
    assert texts(losses) == ["128 px"]


def test_confusion_has_the_tables_labels_and_rows_of_100():
    predictions = thirteen()
    plain, shares = (figures.confusion(predictions, normalised).axes[0] for normalised in (False, True))
    assert names(plain.get_xticklabels()) == [subtype.english for subtype in SUBTYPES]
    at = {text.get_position(): text.get_text() for text in plain.texts}
    bne, sne = SUBTYPE_LABELS.index("BNE"), SUBTYPE_LABELS.index("SNE")
    assert (at[bne, bne], at[sne, bne]) == ("2", "1")  # (column, row): predicted to the right, labelled down
    assert (bne, sne) not in at
    assert names(plain.get_yticklabels())[bne] == "band neutrophil (3)"
    assert {text.get_position(): text.get_text() for text in shares.texts}[sne, bne] == "33.3"
    assert sum(float(text) for text in texts(shares)) == pytest.approx(1300, abs=0.5)


def test_most_confused_pairs_by_count(mixed):
    axes = figures.most_confused(mixed).axes[0]
    assert names(axes.get_yticklabels()) == [
        "immature granulocyte → neutrophil",
        "neutrophil → immature granulocyte",
        "monocyte → lymphocyte",
    ]
    assert [bar.get_width() for bar in axes.patches] == [3, 2, 1]
    assert texts(axes) == ["3", "2", "1"]
    assert "6 of 6 errors, 3 of 3 pairs" in axes.get_title()
    assert axes.yaxis_inverted()  # the first bar is on top


def test_most_confused_shows_twelve_pairs_and_says_of_how_many():
    errors = [(label, "", other, 0.9) for label in LABELS[:3] for other in LABELS if other != label]
    axes = figures.most_confused(table(LABELS, errors)).axes[0]
    assert len(axes.patches) == 12
    assert "12 of 21 errors, 12 of 21 pairs" in axes.get_title()


def test_without_errors_the_figures_say_so():
    predictions = without_error_and_monocytes()
    for figure in (figures.most_confused(predictions), figures.top_losses(predictions, Album())):
        assert texts(figure.axes[0]) == ["No error among 12 test pictures."]


def test_top_losses_are_the_errors_the_worst_first(mixed):
    mixed.loc[mixed["label"] == "basophil", "loss"] = 9.0  # right all the same
    album = Album()
    shown = titles(figures.top_losses(mixed, album))
    assert album.asked == ["MMY_1", "MO_5", "BNE_3", "BNE_4", "MMY_2", "MMY_0"]
    assert shown[0] == "labelled immature granulocyte\npredicted neutrophil\nprobability 99.0 %, loss 6.55, MMY_1"
    assert len(shown) == 6


def test_random_predictions_mark_right_and_wrong(mixed):
    album = Album()
    figure = figures.random_predictions(mixed, album)
    rows = mixed.set_index("image_id").loc[album.asked]
    assert len(set(album.asked)) == 16
    hits = (rows["label"] == rows["prediction"]).tolist()
    assert [title[0] == "✓" for title in titles(figure)] == hits
    wrong = titles(figures.random_predictions(mixed[mixed["image_id"] == "MO_5"], album))
    assert wrong == ["✗ lymphocyte, 95.0 %\nlabelled monocyte"]


def test_reliability_of_a_bin_by_hand(mixed):
    upper, lower = figures.reliability(mixed).axes
    x, y = upper.containers[0].lines[0].get_data()
    points = dict(zip(np.round(list(x), 4).tolist(), y, strict=True))
    # 11/15 = 0.733 to 12/15 = 0.8: the five right ones at 0.75. 13/15 = 0.867 to 14/15 = 0.933: one, wrong.
    assert points[0.75] == 1
    assert points[0.9] == 0
    bars = {round(bar.get_x() + bar.get_width() / 2, 4): bar.get_height() for bar in lower.patches}
    assert bars[round(11.5 / 15, 4)] == 5
    assert sum(bars.values()) == len(mixed)
    references = [LABELS.index(label) for label in mixed["label"]]
    given = metrics.probabilities_of(mixed).tolist()
    measured = metrics.CellMetrics(keep_in_memory=True).compute(predictions=given, references=references, resamples=2)
    assert f"ECE {measured['ece']:.4f}" in upper.get_title()


def test_recall_by_subtype_has_exact_limits_and_the_lowest_first(mixed):
    axes = figures.recall_by_subtype(mixed).axes[0]
    rows = names(axes.get_yticklabels())
    assert rows[:3] == ["metamyelocyte (n = 6)", "band neutrophil (n = 5)", "monocyte (n = 4)"]
    assert len(rows) == 13
    bars = axes.containers[-1]
    assert [bar.get_width() for bar in bars][:4] == [0.5, 0.6, 0.75, 1]
    low, high = bars.errorbar.lines[2][0].get_segments()[0][:, 0]
    expected = stats.binomtest(3, 6).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert texts(axes)[0] == f"0.500 ({expected.low:.3f} to {expected.high:.3f})"
    # With no error the lower limit has a closed form.
    assert texts(axes)[rows.index("segmented neutrophil (n = 8)")] == f"1.000 ({0.025 ** (1 / 8):.3f} to 1.000)"


@pytest.mark.parametrize("none", ["", np.nan])  # in a run, and read again from predictions.csv
def test_pictures_without_a_subtype_are_left_out_of_the_recalls(mixed, counts, none):
    mixed.loc[mixed["label"] == "ig", "subtype"] = none
    assert len(names(figures.recall_by_subtype(mixed).axes[0].get_yticklabels())) == 9
    assert texts(figures.recall_by_subtype(mixed.assign(subtype=none)).axes[0]) == ["No test picture has a subtype."]
    types, subtypes = figures.class_counts(counts.assign(cell_subtype=none)).axes
    assert "10 = 6 + 1 + 3" in texts(types)
    assert set(texts(subtypes)) == {"0 = 0 + 0 + 0"}
    assert {axes.get_title() for axes in figures.samples(counts.assign(cell_subtype=none), Album()).axes} == {""}
