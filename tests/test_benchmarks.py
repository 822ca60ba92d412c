"""The benchmarks' pure parts, and that their loops run; no test asks how long anything takes."""

import pandas as pd
import pytest
import torch

from benchmarks import growth, load, processes, steps, timing, training
from train import recipe
from train.timing import peak_memory


def test_each_is_measured_once_a_round_in_turns(capsys):
    called = []

    def measure(name: str, value: float) -> float:
        called.append(name)
        return value

    values = timing.compare({"ours": lambda: measure("ours", 6.0), "other": lambda: measure("other", 4.0)}, 3, "images/s")
    assert called == ["ours", "other", "other", "ours", "ours", "other"]
    assert values == {"ours": [6.0] * 3, "other": [4.0] * 3}
    assert "ours / other: median 1.5 times, from 1.5 to 1.5, 3 repeats" in capsys.readouterr().out


def test_the_spread_of_the_ratio_is_that_of_the_rounds():
    *_, ratio = timing.report({"ours": [10.0, 20.0, 30.0], "other": [10.0, 10.0, 10.0]}, "s")
    assert ratio == "ours / other: median 2 times, from 1 to 3, 3 repeats"


@pytest.fixture(scope="module")
def chosen() -> recipe.Recipe:
    return steps.as_measured(recipe.load("resnet18").override(["batch_size=2"]), 32)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """What a loop of one step that counts asks for, with links to drawn pictures among them."""
    folder = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "DRAWN", 16)
        steps.write_pictures(folder, 40)
    return folder


@pytest.mark.parametrize("name", training.LOOPS)
def test_each_loop_trains_and_ends_after_the_steps_that_count(chosen, pictures, name):
    assert training.measure(name, chosen, pictures, False, 1) > 0


def test_pictures_are_labelled_by_their_folder(pictures):
    labels = steps.read_pictures(pictures)["label"][:]
    assert len(labels) == 40
    assert {labels.count(label) for label in range(8)} == {5}
    pixels = steps.decode_pictures(pictures, 32, torch.device("cpu"))
    assert pixels.images.shape == (40, 3, 32, 32)


def test_a_window_is_over_after_its_last_step():
    window = steps.Window(2, 3)
    assert [window() for _ in range(5)] == [False, False, False, False, True]
    assert len(window.times) == 2


@pytest.mark.parametrize(("name", "expected"), [("resnet18", 1.82e9), ("vit_base", 17.6e9)])
def test_operations_are_three_times_the_networks_multiplications_and_additions(name, expected):
    """expected: multiply-adds of a forward pass at 224 px, as timm's tables have them for 1,000 classes."""
    counted = training.flops(steps.as_measured(recipe.load(name), 224))
    assert counted == pytest.approx(3 * 2 * expected, rel=0.03)


def test_the_losses_of_all_processes_are_compared_step_by_step():
    assert processes.farthest([1.0, 2.0, 3.0], [1.0, 2.5, 2.75]) == 0.5


def test_growth_measures_a_setting_and_compares_the_most_pictures_with_the_fewest(chosen, pictures):
    row = growth.measure(chosen, pictures, 1)
    assert (row["pictures"], row["image_size"]) == (40, 32)
    assert row["epoch_seconds"] == pytest.approx(40 / row["images_per_second"])
    assert row["peak_memory_mb"] == pytest.approx(peak_memory(torch.device("cpu")) / 1e6, rel=0.01)
    fewer = {"pictures": 10, "image_size": 32} | {column: row[column] / 2 for column in growth.PANELS}
    (line,) = growth.growth(pd.DataFrame([row, fewer]))
    assert line == "32 px, 40 pictures / 10: decoding once 2.00 times, an epoch 2.00 times, peak of memory 2.00 times"


def test_each_client_under_load_has_pictures_of_its_own():
    first, second = load.draw(0, 4), load.draw(1, 4)
    assert len(first) == len(second) == 4
    assert not first.keys() & second.keys()
    assert not set(first.values()) & set(second.values())
    assert load.draw(0, 4) == first


def test_an_answer_under_load_is_what_its_last_event_says():
    rows = '[[{"file": "a", "prediction": "ig", "probability": 0.98765}]]'
    answer = f"event: heartbeat\ndata: null\n\nevent: complete\ndata: {rows}\n\n"
    assert load.rows(answer) == [("a", "ig", 0.9877)]
    with pytest.raises(ValueError, match="too many"):
        load.rows('event: error\ndata: "too many"\n\n')
