"""The components of the page: in each language one gr.HTML, which the workbench in the browser fills."""

import gradio as gr

from hub import catalog, examples
from page import api, handlers, learning, static, views
from page.gradio_internals import Blocks
from page.texts import LANGUAGES, texts

# `element`, `server`, `upload` and `props` are Gradio's. The address holds a digest of the files, so each may be kept for ever.
START = """
const address = new URL('workbench/{version}/main.js', document.baseURI);
import(address).then(workbench => workbench.start({{
  root: element.querySelector('.workbench'), server, upload, settings: props.settings,
}}));
"""


def build() -> Blocks:
    """The page in every language, ready to launch: the first at the root, the others under their codes."""
    models = catalog.names()
    first, *others = LANGUAGES
    with Blocks(title=texts(first)["title"], analytics_enabled=False) as demo:
        add_workbench(first, models)
        api.add(demo)
    for language in others:
        with demo.route(texts(language)["language"], language):
            add_workbench(language, models)
    return demo


def add_workbench(language: str, models: list[str]) -> None:
    """A page's only component that is seen."""
    gr.Navbar(visible=False)  # the workbench has links of its own
    gr.HTML(
        views.workbench(language, models),
        css_template=static.css(),
        js_on_load=START.format(version=static.version()),
        apply_default_css=False,
        elem_id="workbench",
        server_functions=[*handlers.SERVER_FUNCTIONS, *learning.SERVER_FUNCTIONS],
        settings=views.settings(
            language, models, bool(examples.dataset()), [one for name in models for one in catalog.described(name)]
        ),
    )
