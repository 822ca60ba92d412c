"""Training and evaluation: dataset -> run folder. May import cells; never hub. Run it as `python -m train`."""
