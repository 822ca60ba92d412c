"""A photograph of the microscope's view -> the boxes of its white cells -> a picture of each cell."""
