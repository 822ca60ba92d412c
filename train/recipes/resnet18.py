"""ResNet18 from ImageNet weights, trained as in the thesis ("Networks and training"), with gradual unfreezing.

What differs from fastai, which the thesis used: the weights are timm's of October 2021 and not torchvision's, the new head is
one linear layer, the momentum does not cycle, and batch-norm layers are frozen with the rest while the head is trained alone.

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
    freeze_epochs=3,  # thesis
    batch_size=64,  # fastai's default
    optimizer="adamw",  # fastai's default, which the thesis used
    lr=3e-4,  # thesis, found by a learning-rate range test
    lr_first=1e-5,  # thesis: what the first layers know of edges and colours is kept
    lr_head_alone=3e-3,  # thesis
    weight_decay=0.01,  # fastai's default
)
