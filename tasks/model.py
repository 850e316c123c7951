"""The network: MobileNetV2 on raw gray frames, one score out. Plain Keras; `build_model` is all there is to it."""

import keras

from tasks.parameters import TrainParameters

# MobileNetV2's own input range is -1..1; the graph takes raw gray levels, so that the device needs no preprocessing.
SCALE, OFFSET = 1 / 127.5, -1.0


def build_model(parameters: TrainParameters, *, batch_size: int | None = None) -> keras.Model:
    """An untrained classifier with random weights.

    Input `frame`: float32 (batch, height, width, 1), raw gray levels 0..255. Output `score`: float32 (batch, 1), the
    probability of person, 0..1.

    Average pooling over the whole last map and a 1x1 convolution stand in for GlobalAveragePooling2D and Dense, so
    that a conversion with a static batch of 1 leaves only operators that have optimised kernels on the device
    (CONV_2D, DEPTHWISE_CONV_2D, ADD, MUL, AVERAGE_POOL_2D, LOGISTIC, and RESHAPE). `batch_size` fixes the batch.
    """
    frame = keras.Input((parameters.height, parameters.width, 1), batch_size=batch_size, name="frame")
    x = keras.layers.Rescaling(SCALE, offset=OFFSET, name="rescaling")(frame)
    # Weights come in later (tasks/initial_weights.py): Keras loads its own only for three channels.
    x = keras.applications.MobileNetV2(input_tensor=x, alpha=parameters.alpha, include_top=False, weights=None).output
    x = keras.layers.AveragePooling2D(x.shape[1:3], name="average_pool")(x)
    x = keras.layers.Dropout(parameters.dropout, seed=parameters.seed, name="dropout")(x)
    x = keras.layers.Conv2D(1, 1, name="head")(x)
    x = keras.layers.Reshape((1,), name="logit")(x)
    score = keras.layers.Activation("sigmoid", name="score")(x)
    return keras.Model(frame, score, name=f"person_{parameters.alpha:g}_{parameters.width}x{parameters.height}")


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """MobileNetV2's layers, first convolution to last activation, in order: what `fine_tune_layers` counts."""
    names = [layer.name for layer in model.layers]
    return list(model.layers[names.index("Conv1") : names.index("out_relu") + 1])


def freeze_backbone(model: keras.Model, unfrozen: int) -> None:
    """Leaves the top `unfrozen` backbone layers (-1: all) and the head trainable.

    A frozen batch normalisation runs in inference mode (Keras' rule since 2.0): its moving statistics stay as they are.
    """
    layers = backbone_layers(model)
    first = 0 if unfrozen < 0 else max(len(layers) - unfrozen, 0)
    for position, layer in enumerate(layers):
        layer.trainable = position >= first


def set_batch_norm_momentum(model: keras.Model, steps_per_epoch: int) -> float:
    """Makes the moving statistics follow within an epoch; returns the momentum set in every batch normalisation.

    Keras builds MobileNetV2 with 0.999: a time constant of 1,000 steps, so that on a few thousand frames the
    statistics used at inference stay those of the initial weights. 0.99 is used from 300 steps an epoch on; below,
    whatever makes an epoch three time constants long.
    """
    momentum = min(0.99, max(0.8, 1 - 3 / steps_per_epoch))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
    return momentum


def head_model(model: keras.Model) -> keras.Model:
    """The head alone on pooled backbone features (batch, 1, 1, channels); its layers are the model's own."""
    pooled = model.get_layer("average_pool").output
    features = x = keras.Input(pooled.shape[1:], name="features")
    for name in ("dropout", "head", "logit", "score"):
        x = model.get_layer(name)(x)
    return keras.Model(features, x, name="head")


def feature_model(model: keras.Model) -> keras.Model:
    """The backbone with its pooling: frames in, features (batch, 1, 1, channels) out; layers are the model's own."""
    return keras.Model(model.inputs, model.get_layer("average_pool").output, name="features")
