"""A model that learns from a few labelled cells of one laboratory."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessor

from cells.__main__ import main
from cells.labelled import label_of
from cells.model import adapt, fine_tuning
from cells.model.adapt import AdaptError
from cells.model.classifier import Classifier
from cells.model.folder import embedded_folder
from cells.model.halves import Halves
from cells.model.torch_network import TorchNetwork
from cells.synthetic import draw_cell
from cells.write import adapted_card
from hub import card, publish

RED, BLUE = (200, 60, 60), (60, 60, 200)


def cell(colour: tuple[int, int, int], seed: int) -> Image.Image:
    """A noisy picture of one colour, which a network of random weights can learn to tell apart."""
    noise = np.random.default_rng(seed).integers(-40, 40, (40, 40, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def labelled() -> tuple[list[Image.Image], list[str]]:
    """Eight cells of a type that the model knows and eight of one that it does not."""
    pictures = [cell(colour, seed) for seed in range(8) for colour in (RED, BLUE)]
    return pictures, ["monocyte", "reactive lymphocyte"] * 8


@pytest.fixture(scope="module")
def base(model_folder) -> Classifier:
    return Classifier.load(model_folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Random weights learn with a higher rate in fewer steps."""
    monkeypatch.setattr(fine_tuning, "STEPS", 60)
    monkeypatch.setattr(fine_tuning, "RATE", 5e-3)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "vit_tiny"])
def test_the_second_half_goes_on_where_the_first_ended(name):
    network = TorchNetwork(embedded_folder(name))
    pixels = torch.from_numpy(np.stack([network.preprocess(draw_cell(one)) for one in ("monocyte", "basophil")]))
    halves = Halves(network.layers, pixels)
    with torch.inference_mode():
        states = halves.first(pixels)
        assert states.shape != pixels.shape
        torch.testing.assert_close(halves.second(states), network.layers.answer(pixels)[0], atol=1e-4, rtol=0)
        # The network is whole again.
        torch.testing.assert_close(network.network(pixel_values=pixels).logits, halves.second(states), atol=1e-4, rtol=0)
    of_all = sum(parameter.numel() for parameter in network.network.parameters())
    assert 0 < sum(parameter.numel() for parameter in halves.parameters()) < of_all


def test_what_was_labelled_is_learnt_and_a_new_type_too(base, labelled):
    adapted = adapt.adapt(base, *labelled)
    new = [cell(colour, 100 + seed) for seed in range(5) for colour in (RED, BLUE)]
    answers = list(adapted.classifier.predict(new))
    assert [one.label for one in answers] == ["monocyte", "reactive lymphocyte"] * 5
    assert adapted.classifier.labels == (*base.labels, "reactive lymphocyte")
    report = adapted.report
    assert report.cells == {"monocyte": 8, "reactive lymphocyte": 8}
    assert report.total == 16
    assert report.right_before <= report.right <= 16


def test_the_same_cells_give_the_same_model(base, labelled):
    first, second = (adapt.adapt(base, *labelled).classifier.probabilities(labelled[0]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_learning_leaves_the_randomness_of_the_process_alone(base, labelled):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    adapt.adapt(base, *labelled)
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_model_answers_as_it_did(base, labelled, tmp_path):
    adapted = adapt.adapt(base, *labelled)
    adapted.save(tmp_path / "mine")
    loaded = Classifier.load(tmp_path / "mine")
    assert loaded.labels == adapted.classifier.labels
    expected, found = (one.probabilities(labelled[0]) for one in (adapted.classifier, loaded))
    np.testing.assert_allclose(found, expected, atol=0.02)  # float16
    assert loaded.uncertainty.review_below == pytest.approx(adapted.classifier.uncertainty.review_below)
    network = AutoModelForImageClassification.from_pretrained(tmp_path / "mine")
    assert [network.config.id2label[index] for index in range(9)] == list(loaded.backend.labels)
    assert json.loads((tmp_path / "mine" / "adapted.json").read_text())["right"] == adapted.report.right


def test_a_vit_is_adapted_and_saved_too(labelled, tmp_path):
    names = dict(enumerate(("monocyte", "basophil")))
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8,
        id2label=names, label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    adapted = adapt.adapt(Classifier.load(tmp_path / "vit"), *labelled)
    adapted.save(tmp_path / "mine")
    loaded = Classifier.load(tmp_path / "mine")
    assert loaded.labels == ("monocyte", "basophil", "reactive lymphocyte")
    np.testing.assert_allclose(loaded.probabilities(labelled[0]), adapted.classifier.probabilities(labelled[0]), atol=1e-4)


def test_pictures_of_the_laboratory_are_familiar_afterwards(monkeypatch):
    monkeypatch.setattr(fine_tuning, "RATE", 1e-3)
    base = Classifier.load("efficientnet_lite0")
    green = [tinted(draw_cell(label, seed)) for seed in range(6) for label in ("neutrophil", "lymphocyte")]
    assert {one.status for one in base.predict(green)} == {"unfamiliar"}
    adapted = adapt.adapt(base, green, ["neutrophil", "lymphocyte"] * 6)
    statuses = [
        one.status for one in adapted.classifier.predict(tinted(draw_cell("lymphocyte", seed)) for seed in range(10, 20))
    ]
    assert statuses.count("unfamiliar") <= 2
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
    assert [one.status for one in adapted.classifier.predict([noise])] == ["unfamiliar"]


def tinted(picture: Image.Image) -> Image.Image:
    """As another laboratory's stain and camera might show it."""
    return Image.fromarray((np.asarray(picture) * [0.3, 1.0, 0.5]).astype(np.uint8))


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["monocyte"] * 8, "adapt_too_few"),
        (["monocyte", "basophil"], "adapt_too_few"),
        ([f"type {number}" for number in range(51)], "adapt_too_many"),
    ],
)
def test_labels_from_which_nothing_is_learnt_are_refused(base, labels, code):
    with pytest.raises(AdaptError) as refused:
        adapt.adapt(base, [cell(RED, seed) for seed in range(len(labels))], labels)
    assert refused.value.code == code


def test_one_picture_many_times_is_one_cell(base):
    with pytest.raises(AdaptError, match="2 different cells"):
        adapt.adapt(base, [cell(RED, 0), cell(BLUE, 1)] * 25, ["monocyte", "basophil"] * 25)
    with pytest.raises(AdaptError, match="labelled twice, as monocyte and as basophil"):
        adapt.adapt(base, [cell(RED, 0)] * 2, ["monocyte", "basophil"])


def test_labels_that_make_the_answers_worse_change_nothing(base, monkeypatch):
    """Labels by chance: held-back cells cannot be named as they are labelled."""
    pictures = [cell(RED, seed) for seed in range(16)]
    before = [prediction.label for prediction in base.predict(pictures)]
    others = [label for label in base.labels if label not in before][:1]
    with pytest.raises(AdaptError, match="Nothing was learnt: of 16 held-back cells"):
        adapt.adapt(base, pictures, [*before[:10], *others * 6])


def test_a_threshold_wants_95_of_100_right():
    probabilities = np.column_stack([np.linspace(0.99, 0.6, 60), 1 - np.linspace(0.99, 0.6, 60)])
    answers = np.zeros(60, int)
    answers[45:] = 1  # below 0.69 all are wrong
    threshold = adapt.fit_threshold(probabilities, answers)
    assert (probabilities[:, 0] >= threshold).sum() in (45, 46)
    assert adapt.fit_threshold(probabilities[:10], answers[:10]) == adapt.NEVER_OK  # ten promise nothing


def test_a_type_with_few_cells_is_never_ok_and_is_named(base, labelled):
    pictures, labels = labelled
    few = [*labels, "basophil", "basophil"]
    adapted = adapt.adapt(base, [*pictures, cell((90, 200, 90), 50), cell((90, 200, 90), 51)], few)
    assert adapted.report.missing == {"basophil": 3}
    assert adapted.report.ok <= adapted.report.total - 2  # the card counts no basophil
    rule = adapted.classifier.uncertainty.review_below
    assert rule[adapted.classifier.labels.index("basophil")] > 1
    assert rule[adapted.classifier.labels.index("platelet")] > 1  # none was labelled


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("basophil", "basophil"),
        ("Immature Granulocyte", "ig"),
        ("neutrófilo", "neutrophil"),
        ("band neutrophil", "BNE"),
        ("reactive lymphocyte", "reactive lymphocyte"),
    ],
)
def test_a_folder_names_a_type_by_its_label_or_in_words(word, label):
    assert label_of(word) == label


def write_folder(folder, labelled) -> None:
    for number, (picture, label) in enumerate(zip(*labelled, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture.save(folder / label / f"{number}.png")


def test_the_command_learns_from_a_folder_a_type(labelled, model_folder, tmp_path, capsys):
    write_folder(tmp_path / "cells", labelled)
    mine = tmp_path / "mine"
    line = ["adapt", str(tmp_path / "cells"), "--model", str(model_folder), "--out", str(mine)]
    assert main(line) == 0
    assert "of 16 held-back cells are named as labelled" in capsys.readouterr().out
    assert "| reactive lymphocyte | 8 |" in (mine / "README.md").read_text()
    assert main(["classify", str(tmp_path / "cells" / "monocyte"), "--model", str(mine), "--as", "cell"]) == 0
    assert f"model: mine@{Classifier.load(mine).version}" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "mine"]
    assert main(line) == 2
    assert "give a folder that does not exist yet" in capsys.readouterr().err


def test_stopped_while_it_saves_adapt_leaves_no_folder(labelled, model_folder, tmp_path, capsys, monkeypatch):
    def stop(report: object) -> str:
        raise KeyboardInterrupt

    write_folder(tmp_path / "cells", labelled)
    monkeypatch.setattr(adapted_card, "write", stop)
    line = ["adapt", str(tmp_path / "cells"), "--model", str(model_folder), "--out", str(tmp_path / "mine")]
    assert main(line) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cells"]


def test_the_command_learns_from_a_reviewed_csv(labelled, model_folder, tmp_path, capsys):
    """Rows without a person's word, and rejected ones, do not count; a cell of a field is cut out of it."""
    pictures, labels = labelled
    lines = ["field,cell,x0,y0,x1,y1,found,file,prediction,person"]
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        picture.save(tmp_path / f"{number}.png")
        lines.append(f",,,,,,,{number}.png,monocyte,{label}")
    field = Image.new("RGB", (300, 200), "white")
    field.paste(cell(RED, 60), (100, 80))
    field.save(tmp_path / "field.png")
    lines.append("field.png,1,100,80,140,120,0.9,field.png,monocyte,monocyte")
    lines += [",,,,,,,none.png,monocyte,not_a_cell", ",,,,,,,none.png,monocyte,"]
    (tmp_path / "review.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    out = str(tmp_path / "mine")
    assert main(["adapt", str(tmp_path / "review.csv"), "--model", str(model_folder), "--out", out]) == 0
    assert "of 17 held-back cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda place: place.mkdir(), "holds no folders"),
        (lambda place: place.write_bytes(b"\xff\xfe\x00"), "neither a folder nor a CSV"),
        (lambda place: place.write_text("a,b\n1,2\n"), "has no columns `file` and `person`"),
        (lambda place: place.write_text("file,person\nmissing.png,monocyte\n"), "missing.png: There is no such file"),
        (lambda place: place.write_text("file,person\n" + "missing.png,ig\n" * 2001), "has 2001 labelled cells; at most 2000"),
    ],
)
def test_what_holds_no_labelled_cells_is_one_line(make, words, tmp_path, model_folder, capsys):
    make(tmp_path / "cells")
    assert main(["adapt", str(tmp_path / "cells"), "--model", str(model_folder), "--out", str(tmp_path / "mine")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_an_adapted_folder_is_published_with_its_own_card(base, labelled, tmp_path):
    """Also after `adapt` wrote one without marks, a person added to it, and the folder was given another name."""
    adapt.adapt(base, *labelled).save(tmp_path / "mine")
    upload = publish.model(tmp_path / "mine")
    assert "adapted.json" in upload.files
    assert "fine-tuned on 16 labelled cells of one laboratory" in upload.readme
    assert card.is_marked(upload.readme)
    adapted_card.write(tmp_path / "mine")
    assert publish.model(tmp_path / "mine").readme == upload.readme
    with open(tmp_path / "mine" / "README.md", "a") as file:
        file.write("\nOurs.\n")
    (tmp_path / "mine").rename(tmp_path / "renamed")
    readme = publish.model(tmp_path / "renamed").readme
    assert "# renamed: blood cells" in readme
    assert card.words(readme) == "Ours."
