"""ViT-Small from nothing. Its values are those of ViT-Tiny where nothing else is said.

python -m train vit_small_scratch --split results/split.csv
"""

import dataclasses

from train.recipes import vit_tiny_scratch

RECIPE = dataclasses.replace(
    vit_tiny_scratch.RECIPE,
    name="vit_small_scratch",
    about="ViT-Small from nothing, for whoever has only the data",
    expected="not measured yet",
    architecture="vit_small",
    gpu=True,  # a picture costs four times what it costs ViT-Tiny
    image_size=224,  # what a GPU has the time for
    epochs=150,  # long schedules are what ViTs need on few pictures (Touvron et al. 2021)
    lr=5e-4,  # larger networks want smaller rates
    mixup=0.2,  # strong augmentation is the other thing that they need
    drop_path=0.1,  # as in Touvron et al. 2021
)
