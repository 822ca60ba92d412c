"""The core: pictures of blood cells -> what they show. Imports neither gradio, train, hub nor a network client.

A model that is named by a Hub id is fetched by transformers.
"""
