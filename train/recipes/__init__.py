"""One small file a recipe: its values, each with its reason, the score to expect and the exact command."""
