"""The loss against an independent, plain implementation of the published formula."""

import copy
import io
import threading

import pytest
import torch
from torch import nn

import mdf
from mdf.errors import MDFError, ShapeError
from mdf.legacy import read_published
from mdf.loss import MDFLoss, tap_names

# Of the published JPEG weights and a part of the astronaut against its mirror image: computed once
# with `published_formula` in float64.
GOLDEN = 12.266158108911835


def published_formula(discriminators, restored, target, *, every_relu=False, value_range=(0, 1)):
    """Equation 2 by plain autograd, BatchNorm as it stands: shares of every scale and tap."""
    low, high = value_range

    def activations(discriminator, x):
        blocks = [discriminator.head, *discriminator.body]
        after = []
        for block in blocks:
            x = nn.functional.leaky_relu(block.norm(block.conv(x)), 0.2)
            after.append(x)
        inner = after if every_relu else [after[0], after[-1]]
        return [*inner, discriminator.tail(x)]

    shares = []
    for discriminator in discriminators:
        discriminator.eval()
        pairs = zip(
            activations(discriminator, restored * (high - low) + low),
            activations(discriminator, target * (high - low) + low),
            strict=True,
        )
        shares.append(torch.stack([((a - b) ** 2).mean(dim=(1, 2, 3)).mean() for a, b in pairs]))
    return torch.stack(shares)


def value_and_gradient(function, restored, target):
    restored = restored.clone().requires_grad_()
    value = function(restored, target)
    value.backward()
    return value.item(), restored.grad


def assert_same_gradient(gradient, expected):
    """Equal but for rounding, which may move an activation over LeakyReLU's kink."""
    assert (gradient - expected).norm() < 1e-3 * expected.norm()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(5)
    target = torch.rand(3, 3, 24, 29, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


@pytest.fixture
def loss(build_loss):
    return MDFLoss(*build_loss())


FORMS = [
    {},
    {"padding": "same"},
    {"taps": "every-relu"},
    {"layers": 3, "padding": "same", "taps": "every-relu"},
    {"value_range": (0.0, 1.0)},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_value_and_gradient_are_those_of_the_formula_in_double_precision(build_loss, images, form):
    manifest, discriminators = build_loss(**form)
    loss = MDFLoss(manifest, discriminators, dtype=torch.float64)
    reference = [copy.deepcopy(each).double() for each in discriminators]
    restored, target = (image.double() for image in images)

    def formula(x, y):
        every_relu = manifest.taps == "every-relu"
        return published_formula(
            reference, x, y, every_relu=every_relu, value_range=manifest.value_range
        ).sum()

    value, gradient = value_and_gradient(loss, restored, target)
    expected, expected_gradient = value_and_gradient(formula, restored, target)
    assert value == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


def test_terms_are_those_of_the_formula_and_sum_to_the_loss(build_loss, images):
    manifest, discriminators = build_loss(taps="every-relu")
    loss = MDFLoss(manifest, discriminators, dtype=torch.float64)
    reference = [copy.deepcopy(each).double() for each in discriminators]
    restored, target = (image.double() for image in images)
    expected = published_formula(
        reference, restored, target, every_relu=True, value_range=manifest.value_range
    )
    terms = loss.terms(restored, target)
    assert terms.shape == (2, 5)
    torch.testing.assert_close(terms, expected, rtol=1e-9, atol=0)
    assert terms.sum().item() == pytest.approx(loss(restored, target).item(), rel=1e-12)


def test_the_published_weights_give_the_formula_s_value_and_gradient(published, astronaut):
    loss = mdf.load_loss(published)
    _, discriminators = read_published(published)

    def formula(x, y):
        return published_formula(discriminators, x, y).sum()

    mirrored = astronaut.flip(3)
    value, gradient = value_and_gradient(loss, astronaut, mirrored)
    expected, expected_gradient = value_and_gradient(formula, astronaut, mirrored)
    assert value == pytest.approx(expected, rel=1e-5)
    assert value == pytest.approx(GOLDEN, rel=1e-5)
    assert_same_gradient(gradient, expected_gradient)


@pytest.mark.slow
def test_an_image_optimised_from_noise_follows_the_path_of_the_formula(published, astronaut):
    """The authors' example: Adam, learning rate 0.1, 25 iterations from uniform noise."""
    _, discriminators = read_published(published)
    target = astronaut[..., :24, :24].contiguous()
    noise = torch.rand(target.shape, generator=torch.Generator().manual_seed(0))

    def path(function):
        image = noise.clone().requires_grad_()
        optimiser = torch.optim.Adam([image], lr=0.1)
        values = []
        for _ in range(25):
            optimiser.zero_grad()
            value = function(image, target)
            value.backward()
            optimiser.step()
            values.append(value.item())
        return values

    ours = path(mdf.load_loss(published))
    theirs = path(lambda x, y: published_formula(discriminators, x, y).sum())
    assert ours == pytest.approx(theirs, rel=0.02)
    assert ours[-1] < ours[0] / 10


def test_equal_images_differ_by_nothing(loss, images):
    assert loss(images[1], images[1]).item() == 0


def test_a_worse_image_is_worse(published, astronaut):
    loss = mdf.load_loss(published)
    noise = torch.randn(astronaut.shape, generator=torch.Generator().manual_seed(1))
    values = [loss(astronaut + sigma / 255 * noise, astronaut).item() for sigma in (5, 15, 45)]
    assert values == sorted(values)
    assert values[2] > 3 * values[0]


def test_a_batch_is_the_mean_of_its_images(loss, images, monkeypatch):
    alone = [loss(x[None], y[None]).item() for x, y in zip(*images, strict=True)]
    value, gradient = value_and_gradient(loss, *images)
    assert value == pytest.approx(sum(alone) / 3, rel=1e-5)
    monkeypatch.setattr("mdf.loss.CPU_PIXELS", 1)  # one image at a time
    again, gradient_again = value_and_gradient(loss, *images)
    assert again == pytest.approx(value, rel=1e-6)
    assert_same_gradient(gradient_again, gradient)


def test_the_gradient_goes_to_the_restored_image_alone(loss, images):
    restored, target = (image.clone().requires_grad_() for image in images)
    (3 * loss(restored, target)).backward()
    assert target.grad is None
    _, gradient = value_and_gradient(loss, *images)
    torch.testing.assert_close(restored.grad, 3 * gradient)


def test_the_gradient_reaches_the_network_before_it(loss, images):
    network = nn.Conv2d(3, 3, 1)
    loss(network(images[0]), images[1]).backward()
    expected = network.weight.grad.clone()
    network.zero_grad()
    loss.terms(network(images[0]), images[1]).sum().backward()
    assert_same_gradient(network.weight.grad, expected)


def test_a_gradient_asked_of_the_target_is_refused_with_the_way_out(loss, images):
    with pytest.raises(MDFError, match=r"call loss\(restored, target\)"):
        loss(images[0], images[1].clone().requires_grad_())


def test_without_a_gradient_none_is_computed(loss, images, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    assert not loss(*images).requires_grad
    with torch.no_grad():
        assert not loss(images[0].clone().requires_grad_(), images[1]).requires_grad
    with torch.inference_mode():
        assert loss(*images).item() > 0


def test_autograd_keeps_the_image_s_gradient_and_no_activations(loss, images):
    restored = images[0].clone().requires_grad_()
    value = loss(restored, images[1])
    gradient, image = value.grad_fn.saved_tensors
    assert image.data_ptr() == restored.data_ptr()
    assert_same_gradient(gradient, torch.autograd.grad(value, restored)[0])
    (leaf,) = [parent for parent, _ in value.grad_fn.next_functions if parent]
    assert leaf.variable is restored


def test_the_gradient_is_right_to_finite_differences(build_loss):
    loss = MDFLoss(*build_loss((3,)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    x, y = torch.rand(2, 1, 3, 12, 11, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), y))
    assert torch.autograd.gradcheck(loss.terms, (x, y))


def test_second_derivatives_are_refused_with_the_way_out(loss, images):
    restored = images[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(restored, images[1]), restored, create_graph=True)
    with pytest.raises(MDFError, match=r"loss\.terms\(restored, target\)\.sum\(\)"):
        gradient.square().sum().backward()


def test_terms_have_second_derivatives(loss, images):
    restored = images[0].clone().requires_grad_()
    value = loss.terms(restored, images[1]).sum()
    (gradient,) = torch.autograd.grad(value, restored, create_graph=True)
    gradient.square().sum().backward()
    assert restored.grad.abs().sum() > 0


def test_the_graph_can_be_kept_and_walked_twice(loss, images):
    restored = images[0].clone().requires_grad_()
    value = loss(restored, images[1])
    value.backward(retain_graph=True)
    once = restored.grad.clone()
    value.backward()
    torch.testing.assert_close(restored.grad, 2 * once)


def test_memory_layout_of_the_images_does_not_matter(loss, images):
    value, gradient = value_and_gradient(loss, *images)
    for change in (
        lambda t: t.contiguous(memory_format=torch.channels_last),
        lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
        lambda t: t.repeat_interleave(2, dim=3)[..., ::2],
    ):
        again, gradient_again = value_and_gradient(loss, *(change(image) for image in images))
        assert again == pytest.approx(value, rel=1e-5)
        assert_same_gradient(gradient_again, gradient)


def test_an_autocast_region_changes_nothing(loss, images):
    value, gradient = value_and_gradient(loss, *images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again, gradient_again = value_and_gradient(loss, *images)
        terms = loss.terms(*images)
        assert loss(images[0].bfloat16(), images[1]).dtype == torch.float32
    assert again == value
    assert torch.equal(gradient_again, gradient)
    assert terms.sum().item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_images_of_any_floating_type_are_taken(loss, images, dtype):
    restored, target = (image.to(dtype) for image in images)
    value, gradient = value_and_gradient(loss, restored, target)
    expected, _ = value_and_gradient(loss, restored.float(), target.float())
    assert value == pytest.approx(expected, rel=1e-6)
    assert gradient.dtype == dtype


def test_maps_show_where_and_sum_to_the_loss(loss, images):
    target = images[1]
    restored = target.clone()
    restored[..., 4:7, 20:23] = 1 - restored[..., 4:7, 20:23]
    maps = loss.maps(restored, target)
    assert [(each.scale, each.tap) for each in maps] == [
        (k, tap) for k in range(2) for tap in ("head", "body.2", "tail")
    ]
    assert sum(each.map.mean().item() for each in maps) == pytest.approx(
        loss(restored, target).item(), rel=1e-5
    )
    head = maps[0].map
    assert head.shape == (3, 22, 27)
    assert head[:, 2:7, 18:23].sum() == pytest.approx(head.sum().item())


def test_features_are_those_of_the_discriminators(build_loss, images):
    manifest, discriminators = build_loss(taps="every-relu")
    features = MDFLoss(manifest, discriminators).features(images[0])
    assert [len(taps) for taps in features] == [5, 5]
    for discriminator, taps in zip(discriminators, features, strict=True):
        torch.testing.assert_close(taps[-1], discriminator(images[0] * 2 - 1), rtol=1e-4, atol=1e-5)


def test_tap_names():
    assert tap_names(5, "published") == ("head", "body.2", "tail")
    assert tap_names(4, "every-relu") == ("head", "body.0", "body.1", "tail")


def test_the_loss_is_frozen(loss, images):
    assert list(loss.parameters()) == []
    assert not loss.train().training
    assert not any(module.training for module in nn.Sequential(loss).train()[0].modules())
    before = loss(*images).item()
    for _ in range(3):
        value_and_gradient(loss, *images)
    assert loss(*images).item() == before


def test_the_loss_adds_nothing_to_checkpoints(loss):
    model = nn.ModuleDict({"network": nn.Conv2d(3, 3, 1), "criterion": loss})
    assert set(model.state_dict()) == {"network.weight", "network.bias"}


def test_the_loss_can_be_copied_pickled_and_cast(loss, images):
    value = loss(*images).item()
    assert copy.deepcopy(loss)(*images).item() == value
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    assert torch.load(file, weights_only=False)(*images).item() == value
    assert copy.deepcopy(loss).double()(*images).item() == pytest.approx(value, rel=1e-5)
    with pytest.raises(MDFError, match=r"cast to torch\.float16"):
        copy.deepcopy(loss).half()(*images)


def test_threads_can_share_a_loss(loss, images):
    value, gradient = value_and_gradient(loss, *images)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(value_and_gradient(loss, *images)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for again, gradient_again in results:
        assert again == pytest.approx(value, rel=1e-5)
        assert_same_gradient(gradient_again, gradient)


def test_a_compiled_training_step_gives_the_same_gradient(loss, images):
    def step(x, y):
        return loss(x * 1.0, y) + (x * 0).sum()

    value, gradient = value_and_gradient(step, *images)
    compiled = torch.compile(step, backend="aot_eager")
    again, gradient_again = value_and_gradient(compiled, *images)
    assert again == pytest.approx(value, rel=1e-6)
    torch.testing.assert_close(gradient_again, gradient)


@pytest.mark.gpu
def test_a_gpu_gives_the_same(published, astronaut):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    mirrored = astronaut.flip(3)
    value, gradient = value_and_gradient(mdf.load_loss(published), astronaut, mirrored)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        loss = mdf.load_loss(published, device="cuda")
        again, gradient_again = value_and_gradient(loss, astronaut.cuda(), mirrored.cuda())
    assert again == pytest.approx(value, rel=1e-5)
    assert_same_gradient(gradient_again.cpu(), gradient)


@pytest.mark.parametrize(
    ("restored", "target", "message"),
    [
        ((1, 3, 20, 20), (1, 3, 20, 21), r"restored is \(1, 3, 20, 20\) and target is"),
        ((3, 20, 20), (3, 20, 20), r"they must be \(N, 3, H, W\)"),
        ((1, 1, 20, 20), (1, 1, 20, 20), r"they must be \(N, 3, H, W\)"),
        ((0, 3, 20, 20), (0, 3, 20, 20), r"they must be \(N, 3, H, W\)"),
        ((1, 3, 10, 20), (1, 3, 10, 20), r"10 × 20 pixels; this loss needs at least 11"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(loss, restored, target, message):
    for compare in (loss, loss.terms, loss.maps):
        with pytest.raises(ShapeError, match=message):
            compare(torch.zeros(restored), torch.zeros(target))


def test_images_of_whole_numbers_are_refused(loss):
    image = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    with pytest.raises(ShapeError, match=r"torch\.uint8; they must be floating-point"):
        loss(image, image)
    with pytest.raises(ShapeError, match=r"torch\.uint8"):
        loss.features(image)


def test_the_smallest_image_is_taken(build_loss):
    loss = MDFLoss(*build_loss())
    assert loss(torch.zeros(1, 3, 11, 11), torch.ones(1, 3, 11, 11)).item() > 0
    padded = MDFLoss(*build_loss(padding="same"))
    assert padded(torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)).item() > 0


def test_a_loss_in_half_precision_is_refused(build_loss):
    with pytest.raises(ValueError, match=r"dtype is torch\.bfloat16"):
        MDFLoss(*build_loss(), dtype=torch.bfloat16)
