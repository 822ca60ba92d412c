"""Training of the network that finds white cells: fields -> crops -> run -> model folder. See run.py."""
