"""ResNet18 from ImageNet weights: the thesis's own recipe ("Networks and training"), with gradual unfreezing.

python -m train resnet18
"""

from train.recipe import Recipe

RECIPE = Recipe(
    name="resnet18",
    about="ResNet18 from ImageNet weights, as in the thesis",
    expected="accuracy 0.99, balanced 0.98 in the thesis, on its split; not measured here",
    architecture="resnet18",
    pretrained="timm/resnet18.a1_in1k",
    image_size=224,  # thesis
    epochs=16,  # thesis: 3 and 13
    head_epochs=3,  # thesis
    batch_size=64,
    optimizer="adamw",  # fastai's default, which the thesis used
    lr=3e-4,  # thesis, found by a learning-rate range test
    lr_first=1e-5,  # thesis: what the first layers know of edges and colours is kept
    lr_head_alone=3e-3,  # thesis
    weight_decay=0.01,  # fastai's default
)
