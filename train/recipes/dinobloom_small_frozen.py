"""DinoBloom-S (Koch et al. 2024) as it is: frozen features, and a linear head.

DINOv2's ViT-S/14, trained without labels on 380,000 blood and bone marrow cells of 13 data sets. PBC is one of them, its test
pictures included: a figure on PBC is not of pictures that the network never saw.

    python -m train dinobloom_small_frozen --split results/split.csv
"""

from train.recipe import Recipe

RECIPE = Recipe(
    name="dinobloom_small_frozen",
    about="DinoBloom-S, the foundation model of haematology, with frozen features and a linear head",
    expected="not measured",
    architecture="vit_small_patch14_dinov2",
    pretrained="1aurent/vit_small_patch14_224.dinobloom",  # the authors' weights, as safetensors
    gpu=True,  # the frozen network is asked for every augmented picture
    image_size=224,  # as the weights were trained
    epochs=15,
    freeze_epochs=15,  # all: the head alone
    batch_size=64,
    optimizer="adamw",
    lr=3e-3,
    lr_head_alone=3e-3,  # the usual one for a linear layer with AdamW
    warmup=0.1,
)
