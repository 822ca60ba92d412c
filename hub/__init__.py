"""The Hub: the catalogue of models, their cards, and what is published. May import cells; never train."""
