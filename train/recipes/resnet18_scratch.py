"""ResNet18 from nothing, on two CPU cores."""

from train.recipe import Recipe

RECIPE = Recipe(
    name="resnet18_scratch",
    about="ResNet18 from nothing, for whoever has only the data: about 80 minutes on two cores",
    architecture="resnet18",
    image_size=128,
    growth=((0.5, 0.5), (0.8, 0.75)),
    epochs=30,
    batch_size=64,
    optimizer="sgd",
    lr=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
    average_decay=0.995,
)
