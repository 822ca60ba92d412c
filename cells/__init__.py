"""The core: pictures of blood cells -> what they show. Imports neither gradio, train, hub nor a network client."""
