"""Every touch of Gradio's private parts, each for a fault of the version it was written for.

tests/test_gradio_internals.py fails by a touch's name when another version is installed. Look then whether it is still needed
and still works, and name the new version here.
"""

import secrets
from pathlib import Path

import gradio as gr
from gradio import route_utils
from gradio.exceptions import InvalidPathError

from page import uploads

NOT_UPLOADED = "A file was not uploaded to this server, or is not on it any more; upload it again."
UNANSWERED = "Something went wrong on the server; try again."
WRITTEN_FOR = {
    "unguessable_uploads": "6.31.0",
    "forget_uploads": "6.31.0",
    "Answers": "6.31.0",
    "Blocks": "6.31.0",
    "has_left": "6.31.0",
}


class _Upload(route_utils.GradioUploadFile):
    """An uploaded file whose folder's name has 256 random bits in it."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self.sha.update(secrets.token_bytes())


def unguessable_uploads() -> None:
    """Gradio names an upload's folder by the content alone: whoever has the same picture could ask for the name of the file."""
    route_utils.GradioUploadFile = _Upload


def forget_uploads(blocks: gr.Blocks) -> None:
    """Gradio remembers the path of every upload for as long as the server runs, those of deleted files too."""
    names = blocks.upload_file_set
    names.difference_update([name for name in list(names) if not Path(name).exists()])


class Answers:
    """Answers of the API that nobody fetches; Gradio keeps 2,000 of them, and what the last session showed.

    Called again and again with the server's App, between two of Gradio's own tasks.
    """

    def __init__(self, age: float) -> None:
        self.age = age
        self.unread: dict[str, float] = {}  # session -> when its answer was first seen unread

    def forget(self, app: gr.routes.App, now: float) -> None:
        """Drop answers that lay unread for longer than `age` seconds; `now` is a clock that nobody sets."""
        queue = app.get_blocks()._queue
        lying = {session for session, messages in list(queue.pending_messages_per_session.items()) if messages.qsize()}
        self.unread = {session: self.unread.get(session, now) for session in lying}
        for session, since in list(self.unread.items()):
            if now - since > self.age:
                queue.pending_messages_per_session.pop(session, None)
                queue.pending_event_ids_session.pop(session, None)
                self.unread.pop(session)
        # A server keeps the values of as many sessions as `state_session_capacity` says: of one. This takes its place.
        app.state_holder["nobody"]


class Blocks(gr.Blocks):
    """Gradio prints an error with its words, which name the file that a program asked for; these errors have none."""

    async def process_api(self, *arguments: object, **named: object) -> dict:
        try:
            return await super().process_api(*arguments, **named)
        except gr.Error:
            raise
        except Exception as error:
            uploads.log("api", error)
            known = isinstance(error, InvalidPathError | FileNotFoundError)
            raise gr.Error(NOT_UPLOADED if known else UNANSWERED, print_exception=False) from None


def has_left(blocks: gr.Blocks, session: str | None) -> bool:
    """Whether the program that waited for a running answer hung up; Gradio lets its work go on to the end."""
    running = (event for events in blocks._queue.active_jobs if events for event in events)
    return session is not None and any(event.session_hash == session and not event.alive for event in running)
