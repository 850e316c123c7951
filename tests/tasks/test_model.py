"""The network, what of it trains in which phase, and where its weights come from.

Covers tasks/model.py and tasks/initial_weights.py on random weights, saved models and the test S3 server. It does not
train (test_train.py), and ImageNet weights are not fetched: only what happens where they cannot be.
"""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from tasks.initial_weights import WeightsUnusable, load_initial_weights, load_source, resolve_weights, transfer
from tasks.model import (
    backbone_layers,
    build_model,
    feature_model,
    freeze_backbone,
    head_model,
    set_batch_norm_momentum,
)
from tasks.parameters import TrainParameters
from tasks.store import Store
from tests.tasks.generated_frames import adapt_statistics

SMALL = TrainParameters(alpha=0.35, width=64, height=48, weights="none")


@pytest.fixture(scope="module")
def small() -> keras.Model:
    """A small model with statistics and weights that no other model has by chance."""
    keras.utils.set_random_seed(1)
    return adapt_statistics(build_model(SMALL), gray(16))


def gray(count: int, parameters: TrainParameters = SMALL) -> np.ndarray:
    shape = (count, parameters.height, parameters.width, 1)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (64, 48), (32, 24), (224, 240)])
def test_every_allowed_input_size_gives_one_probability_a_frame(width: int, height: int) -> None:
    model = build_model(SMALL.model_copy(update={"width": width, "height": height}))
    scores = model.predict_on_batch(np.full((2, height, width, 1), 200, np.float32))
    assert model.input_shape == (None, height, width, 1)
    assert scores.shape == (2, 1)
    assert np.all((scores > 0) & (scores < 1))


def test_the_graph_itself_scales_raw_gray_levels_to_the_backbones_range() -> None:
    model = build_model(SMALL)
    scaled = keras.Model(model.inputs, model.get_layer("rescaling").output)
    ends = scaled.predict_on_batch(np.stack([np.zeros((48, 64, 1)), np.full((48, 64, 1), 255.0)]))
    np.testing.assert_allclose([ends[0].min(), ends[1].max()], [-1, 1], atol=1e-6)


def test_the_last_layers_are_the_ones_that_unfreeze(small: keras.Model) -> None:
    layers = backbone_layers(small)
    freeze_backbone(small, 10)
    assert [layer.trainable for layer in layers] == [False] * (len(layers) - 10) + [True] * 10
    freeze_backbone(small, 0)
    assert len(small.trainable_weights) == 2  # kernel and bias of the head
    freeze_backbone(small, -1)
    assert all(layer.trainable for layer in layers)
    freeze_backbone(small, 200)  # more than there are
    assert all(layer.trainable for layer in layers)


def test_a_frozen_batch_norm_keeps_its_statistics_and_an_unfrozen_one_adapts() -> None:
    model = build_model(SMALL)
    freeze_backbone(model, 60)
    model.compile("sgd", "binary_crossentropy")
    frozen, free = model.get_layer("bn_Conv1"), model.get_layer("Conv_1_bn")
    before = [layer.moving_mean.numpy().copy() for layer in (frozen, free)]
    model.train_on_batch(gray(4), np.array([[0], [1], [0], [1]], np.float32))
    np.testing.assert_array_equal(frozen.moving_mean.numpy(), before[0])
    assert not np.array_equal(free.moving_mean.numpy(), before[1])


def test_statistics_follow_within_an_epoch_and_never_slower_than_99_hundredths(small: keras.Model) -> None:
    assert set_batch_norm_momentum(small, 10_000) == 0.99
    assert set_batch_norm_momentum(small, 50) == pytest.approx(0.94)
    assert set_batch_norm_momentum(small, 1) == 0.8
    momenta = {layer.momentum for layer in small.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.8}


def test_the_head_on_cached_features_is_the_models_own_head(small: keras.Model) -> None:
    frames = gray(3)
    features = feature_model(small).predict_on_batch(frames)
    scores = small.predict_on_batch(frames)
    np.testing.assert_allclose(head_model(small).predict_on_batch(features), scores, rtol=1e-4, atol=1e-6)
    assert scores.std() > 1e-3
    assert head_model(small).get_layer("head") is small.get_layer("head")


def test_weights_of_a_model_that_this_pipeline_made_come_back_whole(small: keras.Model, tmp_path: Path) -> None:
    small.save(tmp_path / "w.keras")
    (tmp_path / "w.keras").rename(tmp_path / "blob-without-suffix")
    model = build_model(SMALL)
    assert transfer(model, load_source(tmp_path / "blob-without-suffix"), name="w") == ()
    for value, wanted in zip(model.get_weights(), small.get_weights(), strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_another_head_is_left_out_and_a_nested_backbone_is_found() -> None:
    frame = keras.Input((48, 64, 1))
    inner = keras.applications.MobileNetV2((48, 64, 1), alpha=0.35, include_top=False, weights=None)
    pooled = keras.layers.GlobalAveragePooling2D()(inner(frame))
    source = keras.Model(frame, keras.layers.Dense(7, name="head")(pooled))
    model = build_model(SMALL)
    assert transfer(model, source, name="nested") == ("head",)
    for name in ("Conv1", "block_5_expand", "Conv_1_bn"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], inner.get_layer(name).get_weights()[0])


def test_a_colour_network_answers_gray_frames_the_same_after_its_kernel_is_summed() -> None:
    keras.utils.set_random_seed(3)
    frames = gray(8)
    seen_by_colour = np.repeat(frames / 127.5 - 1, 3, axis=-1)
    colour = keras.applications.MobileNetV2((48, 64, 3), alpha=0.35, include_top=False, weights=None)
    adapt_statistics(colour, seen_by_colour)
    model = build_model(SMALL)
    transfer(model, colour, name="colour")
    wanted = colour.predict_on_batch(seen_by_colour)
    found = keras.Model(model.inputs, model.get_layer("out_relu").output).predict_on_batch(frames)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_weights_of_another_alpha_are_refused_with_the_way_out() -> None:
    wider = build_model(SMALL.model_copy(update={"alpha": 0.5}))
    model = build_model(SMALL)
    before = model.get_weights()
    with pytest.raises(WeightsUnusable, match=r"another alpha(.|\n)*set `alpha`"):
        transfer(model, wider, name="wider.keras")
    for value, wanted in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, wanted)  # nothing was copied before the refusal


def test_weights_of_another_input_range_or_architecture_are_refused() -> None:
    frame = keras.Input((48, 64, 1))
    scaled = keras.layers.Rescaling(1 / 255)(frame)
    other_range = keras.applications.MobileNetV2(input_tensor=scaled, alpha=0.35, include_top=False, weights=None)
    with pytest.raises(WeightsUnusable, match="another input range"):
        transfer(build_model(SMALL), other_range, name="x.keras")
    other = keras.Sequential([keras.Input((48, 64, 1)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(WeightsUnusable, match="another architecture"):
        transfer(build_model(SMALL), other, name="x.keras")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_keras_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.keras").write_bytes(content)
    with pytest.raises(WeightsUnusable, match=r"broken\.keras is not a \.keras file"):
        load_source(tmp_path / "broken.keras")


def test_imagenet_weights_that_cannot_be_fetched_name_the_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the address is replaced (nothing listens there) and the cache (an empty folder); the fetch is Keras' own.
    monkeypatch.setattr("keras.src.applications.mobilenet_v2.BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    parameters = SMALL.model_copy(update={"weights": "imagenet"})
    with pytest.raises(WeightsUnusable, match=r"alpha 0\.35 could not be fetched(.|\n)*\.keras file(.|\n)*none"):
        load_initial_weights(build_model(parameters), parameters, None)


def test_weights_are_found_as_file_as_key_and_as_s3_address(store: Store, tmp_path: Path) -> None:
    data = b"weights of some kind"
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "w.keras").write_bytes(data)
    store.put("weights/w.keras", data)
    for name in (str(tmp_path / "w.keras"), "weights/w.keras", f"s3://{store.where.bucket}/weights/w.keras"):
        identity, path = resolve_weights(store, name)
        assert identity == sha256
        assert path is not None
        assert path.read_bytes() == data
    assert store.exists(f"blobs/{sha256}")  # a worker elsewhere can start from them too
    assert resolve_weights(store, "imagenet") == ("imagenet", None)
    assert resolve_weights(store, "none") == ("none", None)


@pytest.mark.parametrize("name", ["no/such/file.keras", "s3://{bucket}/no-such-key", "s3://{bucket}", "", "imagnet"])
def test_weights_that_are_nowhere_are_refused_with_what_is_allowed(store: Store, name: str) -> None:
    with pytest.raises(WeightsUnusable, match=r"no initial weights(.|\n)*`none`"):
        resolve_weights(store, name.format(bucket=store.where.bucket))


def test_the_shared_weights_fit_and_give_the_same_features(shared: Path) -> None:
    source = load_source(shared / "weights" / "mobilenetv2_050_gray_120x160.keras")
    parameters = TrainParameters(alpha=0.5)
    model = build_model(parameters)
    assert transfer(model, source, name="shared") == ()
    frames = gray(2, parameters)
    wanted = keras.Model(source.inputs, source.get_layer("average_pooling2d").output).predict_on_batch(frames)
    np.testing.assert_allclose(feature_model(model).predict_on_batch(frames), wanted, rtol=1e-4, atol=1e-5)
