"""Each touch of Gradio's private parts: that it is still needed, that it still works, and for which version it was written."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest

import app
from page import gradio_internals
from page.gradio_internals import WRITTEN_FOR


@pytest.mark.parametrize("touch", WRITTEN_FOR)
def test_a_touch_was_written_for_the_installed_version(touch):
    assert hasattr(gradio_internals, touch)
    assert gr.__version__ == WRITTEN_FOR[touch], (
        f"page/gradio_internals.py: {touch} was written for Gradio {WRITTEN_FOR[touch]}, and {gr.__version__} is installed. "
        f"Look whether it is still needed and still works, then name the new version there."
    )


def test_every_touch_is_listed():
    own = (value for value in vars(gradio_internals).values() if getattr(value, "__module__", "") == gradio_internals.__name__)
    assert {value.__name__ for value in own if not value.__name__.startswith("_")} == WRITTEN_FOR.keys()


@pytest.fixture
def server(monkeypatch, tmp_path) -> gr.routes.App:
    """Gradio's own memory of the page, as launch() makes it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = app.build_demo()
    demo.state_session_capacity = app.SESSIONS
    server = gr.routes.App.create_app(demo)
    server.state_holder.set_blocks(demo)
    return server


def test_two_uploads_of_one_content_lie_in_different_folders(monkeypatch):
    monkeypatch.setattr(gradio_internals.route_utils, "GradioUploadFile", gradio_internals.route_utils.GradioUploadFile)
    gradio_internals.unguessable_uploads()
    files = [gradio_internals.route_utils.GradioUploadFile(file=None) for _ in range(2)]
    assert files[0].sha.hexdigest() != files[1].sha.hexdigest()


def test_paths_of_deleted_uploads_are_forgotten(server, tmp_path):
    kept = tmp_path / "kept.png"
    kept.touch()
    names = server.get_blocks().upload_file_set
    names.update({str(kept), str(tmp_path / "gone.png")})
    gradio_internals.forget_uploads(server.get_blocks())
    assert names == {str(kept)}


def test_answers_that_nobody_fetches_are_forgotten_and_those_that_are_read_stay(server):
    queue = server.get_blocks()._queue
    for session in ("left", "reads"):
        queue.pending_messages_per_session[session] = asyncio.Queue()
        queue.pending_event_ids_session[session] = {"1"}
        queue.pending_messages_per_session[session].put_nowait("an answer")
    answers = gradio_internals.Answers(100)
    answers.forget(server, 0)
    queue.pending_messages_per_session["reads"].get_nowait()
    answers.forget(server, 60)
    queue.pending_messages_per_session["reads"].put_nowait("another answer")
    answers.forget(server, 90)
    assert {"left", "reads"} <= set(dict(queue.pending_messages_per_session))
    answers.forget(server, 101)
    assert set(dict(queue.pending_messages_per_session)) == {"reads"}
    assert set(queue.pending_event_ids_session) == {"reads"}


def test_what_a_session_showed_is_forgotten(server):
    demo = server.get_blocks()
    answer = next(block for block in demo.blocks.values() if isinstance(block, gr.JSON))
    server.state_holder["a program"]._update_value_in_config(answer._id, "patient-Lopez.png")
    gradio_internals.Answers(100).forget(server, 0)
    assert "Lopez" not in str([held.config_values for held in server.state_holder.session_data.values()])
    assert len(server.state_holder.session_data) == 1


def test_a_server_without_state_asks_for_no_heartbeat(server):
    """With one, Gradio's script would reload the page whenever the server is gone for a moment."""
    assert not server.get_blocks().config["connect_heartbeat"]


def test_an_error_of_gradio_itself_has_no_words(server, run_async, monkeypatch, capfd):
    demo = server.get_blocks()
    call = next(function for function in demo.fns.values() if function.api_name == "classify")

    async def fail(*_: object, **__: object) -> None:
        raise ValueError("Cannot move /home/user/patient-Lopez.png")

    monkeypatch.setattr(gr.Blocks, "preprocess_data", fail)
    with pytest.raises(gr.Error) as raised:
        run_async(demo.process_api(call, [None, "resnet18"], state=server.state_holder["x"]))
    assert not raised.value.print_exception
    assert "Lopez" not in str(raised.value)
    said = capfd.readouterr().err
    assert "ValueError at" in said
    assert "Lopez" not in said


def test_a_program_has_left_once_its_running_event_is_not_alive(server):
    queue = server.get_blocks()._queue
    waits, left = SimpleNamespace(session_hash="waits", alive=True), SimpleNamespace(session_hash="left", alive=False)
    queue.active_jobs = [None, [waits], [left]]
    assert [gradio_internals.has_left(server.get_blocks(), session) for session in ("waits", "left", "other", None)] == [
        *(False, True, False, False),
    ]


def test_no_more_than_one_session_is_kept(server):
    for number in range(20):
        server.state_holder[str(number)]
    assert list(server.state_holder.session_data) == ["19"]
