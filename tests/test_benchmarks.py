"""The benchmarks' pure parts, and that they run; no test asks how long anything takes."""

from benchmarks import timing


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
