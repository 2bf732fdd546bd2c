"""What a kernel leaves as it was, and what it refuses: bad inputs, mixed samples, memory."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization
from torch.utils.checkpoint import checkpoint

from layerwise.networks import MLP, TwoLayer, kernel_plan, ntk, ntk_random, ntk_summed

from .kernel_cases import (
    CASES,
    Twice,
    case,
    full_kernel,
    inputs,
    mixed_convolutions,
    trace_kernel,
)

METHODS = pytest.mark.parametrize("method", ["auto", "jacobian"])


class Function(nn.Module):
    """A dense layer and a function of it and its input that ends the forward pass."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = nn.Linear(4, 3).double(), function
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return self.function(self, x)


class Doubled(torch.autograd.Function):
    """A function of a user's own, without what would vectorise it."""

    @staticmethod
    def forward(ctx, z):
        return 2 * z

    @staticmethod
    def backward(ctx, g):
        return 2 * g


class Stranger(nn.Linear):
    """A dense layer of another type, which could compute anything."""


def image(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


@METHODS
@pytest.mark.parametrize("name", CASES)
def test_model_inputs_and_random_numbers_stay_as_they_were(name, method):
    net, x = case(name)
    seen = []
    net.register_forward_hook(lambda module, args, y: seen.append(len(args[0])))
    first = next(net.parameters())
    first.requires_grad_(len(list(net.parameters())) == 1)
    next(reversed(list(net.parameters()))).grad = torch.ones_like(list(net.parameters())[-1])
    modes = [module.train(k % 2 == 0 and not has_state(module)).training
             for k, module in enumerate(net.modules())]  # fmt: skip
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    flags = [p.requires_grad for p in net.parameters()]
    hooks = [len(module._forward_hooks) for module in net.modules()]
    before, inputs_before, state = image(net), x.clone(), torch.random.get_rng_state()
    for kind in ("trace", "full"):
        ntk(net, x, kind, method)
    ntk_random(net, x, method=method)
    ntk_summed(net, x, method=method)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(x, inputs_before)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == flags
    assert [len(module._forward_hooks) for module in net.modules()] == hooks
    for p, grad in zip(net.parameters(), grads, strict=True):
        assert p.grad is None if grad is None else torch.equal(p.grad, grad)
    assert seen, "the hooks of others still run"


def has_state(module):
    return isinstance(module, nn.modules.batchnorm._BatchNorm | nn.TransformerEncoderLayer)


def test_a_failing_model_keeps_no_hooks():
    def fail(self, x):
        self.inner(x)
        raise RuntimeError("not today")

    net = Function(fail)
    with pytest.raises(RuntimeError, match="not today"):
        ntk(net, inputs(3, 4))
    assert not net.inner._forward_hooks


@METHODS
def test_gradients_may_be_switched_off_outside(method):
    net, x = case("dense")
    expected = ntk(net, x, method=method)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(ntk(net, x.clone(), method=method), expected)


@METHODS
@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: self.inner(x) @ self.inner.weight,  # used by its layer and outside of it
        lambda self, x: nn.functional.linear(x, self.inner.weight, self.inner.bias).tanh(),
        lambda self, x: self.inner(x).tanh() + self.inner(0 * x).detach(),
        lambda self, x: self.inner(0 * x).detach() + self.inner(x).tanh(),
        lambda self, x: (self.inner(x), x @ self.inner.weight.T)[1].tanh(),
        lambda self, x: self.inner(input=x).relu_() * x[:, :1],
        lambda self, x: (self.inner(x.flatten()[:, None].expand(-1, 4))).view(len(x), -1).tanh(),
        lambda self, x: self.inner(x.add_(1.0)).tanh(),
        lambda self, x: (self.inner(x).tanh(), self.calls.add_(1))[0],
    ],
    ids=["tied", "functional", "last", "first", "ignored", "inplace", "folded", "input", "buffer"],
)
def test_unusual_models_are_exact_all_the_same(function, method):
    net, x = Function(function), inputs(3, 4)
    expected = trace_kernel(net, x.clone())
    calls, kept = net.calls.clone(), x.clone()
    torch.testing.assert_close(ntk(net, x, method=method), expected, rtol=1e-11, atol=1e-11)
    assert torch.equal(net.calls, calls)
    assert torch.equal(x, kept)


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: self.inner(x).tanh() * float(x.isfinite().all()),
        lambda self, x: self.inner(x).tanh() + 0 * torch.rand(1),
        lambda self, x: self.inner(x).tanh() + torch.from_numpy(x.detach().numpy()[:, :3]),
        lambda self, x: Doubled.apply(self.inner(x).tanh()),
        lambda self, x: (self.inner(x).tanh(), self.calls.add_(1), x.sum().item())[0],
        lambda self, x: self.inner((torch.eye(4).double().to_sparse() @ x.T).T).tanh(),
    ],
    ids=["value", "drawn", "numpy", "function", "buffer", "sparse"],
)
def test_what_cannot_be_vectorised_is_taken_input_by_input(function):
    net, x = Function(function), inputs(3, 4)
    fired, state = [], torch.random.get_rng_state()
    expected, whole = trace_kernel(net, x), full_kernel(net, x)
    torch.random.set_rng_state(state)
    calls = net.calls.clone()
    net.inner.weight.register_hook(lambda g: fired.append(1))
    torch.testing.assert_close(ntk(net, x, method="jacobian"), expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ntk(net, x, "full", "jacobian"), whole, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(ntk(net, x), expected, rtol=1e-11, atol=1e-11)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(net.calls, calls)
    assert not fired
    assert net.inner.weight.grad is None


def test_an_error_that_only_some_inputs_make_is_the_models_own():
    def fail(self, x):
        if x.shape[0] == 1 and x[0, 0].item() > 1:
            raise RuntimeError("not today")
        return self.inner(x).tanh()

    x = torch.zeros(3, 4, dtype=torch.float64)
    x[1, 0] = 2.0
    with pytest.raises(RuntimeError, match="not today"):
        ntk(Function(fail), x, method="jacobian")


@METHODS
def test_sparse_buffers_are_no_hindrance(method):
    net = Function(lambda self, x: self.inner((self.mixing @ x.T).T).tanh())
    net.register_buffer("mixing", (torch.eye(4) + torch.eye(4).roll(1, 0)).double().to_sparse())
    x = inputs(3, 4)
    torch.testing.assert_close(ntk(net, x, method=method), trace_kernel(net, x))


@METHODS
def test_hooks_that_change_inputs_or_outputs_are_part_of_the_model(method):
    net, x = case("dense")
    net.layers[1].register_forward_hook(lambda module, args, z: 2 * z)
    net.layers[1].register_forward_pre_hook(lambda module, args: (args[0] ** 2,))
    torch.testing.assert_close(ntk(net, x, method=method), trace_kernel(net, x))


def test_an_input_changed_after_its_layer_falls_to_the_jacobian():
    def change(self, x):
        h = x * 1.0
        z = self.inner(h)
        h.mul_(2.0)
        return z

    plan = kernel_plan(Function(change), inputs(3, 4))
    assert plan.method == "jacobian"
    assert "the input of its layer is changed in place afterwards" in plan.reason


def test_subclasses_and_parametrised_layers_have_no_rule():
    for layer in (Stranger(4, 2), register_parametrization(nn.Linear(4, 2), "weight", nn.Tanh())):
        net, x = nn.Sequential(layer).double(), inputs(3, 4)
        assert kernel_plan(net, x).method == "jacobian"
        torch.testing.assert_close(ntk(net, x), trace_kernel(net, x))


def test_only_rules_refuses_parameters_without_one_and_names_them():
    net, x = Twice().double(), inputs(3, 4)
    with pytest.raises(ValueError, match=r"none for inner.weight: it is used more than once"):
        ntk(net, x, method="layers")
    with pytest.raises(ValueError, match="no layer rule for TwoLayer; and 1 more"):
        ntk(TwoLayer(4, 3), x.float(), method="layers")


@pytest.mark.parametrize("method", ["auto", "layers", "jacobian"])
def test_batch_norm_and_dropout_in_training_mode_are_refused(method):
    x = inputs(5, 4, 6, 6)
    net = mixed_convolutions().double().train()
    with pytest.raises(ValueError, match=r"1 \(BatchNorm2d\) is in training mode.*model.eval\(\)"):
        ntk(net, x, method=method)
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 3), nn.Dropout(0.1)).double()
    with pytest.raises(ValueError, match=r"2 \(Dropout\).*random numbers; call model.eval\(\)"):
        ntk(net, x, method=method)
    assert ntk(net.eval(), x, method=method).shape == (5, 5)
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 3), nn.Dropout(0.0)).double()
    assert ntk(net, x, method=method).shape == (5, 5)
    net = nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()).double().eval()
    with pytest.raises(ValueError, match=r"no running statistics.*GroupNorm"):
        ntk(net, x, method=method)


@METHODS
@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: self.inner(x) - self.inner(x).mean(dim=0),
        lambda self, x: nn.functional.dropout(self.inner(x).repeat(1, 20), 0.5),
    ],
    ids=["mixing", "random"],
)
def test_samples_without_a_gradient_of_their_own_are_refused(function, method):
    net, state = Function(function), torch.random.get_rng_state()
    with pytest.raises(ValueError, match="mixes samples or draws random numbers"):
        ntk(net, inputs(4, 4), method=method)
    assert torch.equal(state, torch.random.get_rng_state())


def test_checkpoints_are_followed_unless_they_hide_parameters():
    net, x = Function(lambda self, x: checkpoint(self.inner, x, use_reentrant=False)), inputs(3, 4)
    torch.testing.assert_close(ntk(net, x), trace_kernel(net, x))
    net = Function(lambda self, x: checkpoint(self.inner, x.requires_grad_(), use_reentrant=True))
    with pytest.raises(ValueError, match="use_reentrant=False"):
        ntk(net, inputs(3, 4))


def test_a_model_that_calls_its_layers_otherwise_for_a_batch_is_refused():
    def change(self, x):
        return self.inner(x) if len(x) <= 2 else self.inner(x) + 0 * self.inner(x)

    with pytest.raises(ValueError, match=r'for 4 inputs.*use method="jacobian"'):
        ntk(Function(change), inputs(4, 4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "diagonal"}, ValueError, r"kind must be one of \('trace', 'full'\), got 'diag"),
        ({"method": "best"}, ValueError, "method must be one of .*got 'best'"),
        ({"x": [[1.0]]}, TypeError, "x must be a tensor of inputs .*, got list"),
        ({"x": torch.zeros(0, 5)}, ValueError, r"not none, got \(0, 5\)"),
        ({"x": torch.tensor(1.0)}, ValueError, r"got \(\)"),
        ({"x2": torch.zeros(2, 4)}, ValueError, r"of one kind, got \(3, 5\).*\(2, 4\)"),
        ({"x2": torch.zeros(2, 5).double()}, ValueError, "torch.float32 .*torch.float64"),
        ({"x2": torch.zeros(0, 5)}, ValueError, r"x2 must be inputs .*got \(0, 5\)"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    arguments = {"model": MLP((5, 4, 2)), "x": torch.zeros(3, 5)} | arguments
    for function in (ntk, kernel_plan):
        with pytest.raises(error, match=message):
            function(**arguments)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda self, x: {"logits": self.inner(x)}, TypeError, "must return one tensor.*got dict"),
        (lambda self, x: self.inner(x).sum(), ValueError, r"map 1 inputs to real.*got \(\)"),
        (lambda self, x: self.inner(x).argmax(dim=1), ValueError, "torch.int64"),
        (lambda self, x: self.inner(x) / 0.0, ValueError, "first input is not finite"),
        (lambda self, x: x.tanh(), ValueError, "depends on no parameter"),
        (lambda self, x: self.inner(x).detach(), ValueError, "depends on no parameter"),
    ],
    ids=["dict", "scalar", "integers", "infinite", "constant", "detached"],
)
def test_bad_outputs_are_named(function, error, message):
    with pytest.raises(error, match=message):
        ntk(Function(function), inputs(3, 4))


def test_a_frozen_model_has_no_kernel():
    net = MLP((5, 4, 2)).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of the model requires gradients"):
        ntk(net, torch.zeros(3, 5))


def test_too_large_a_kernel_is_refused_before_the_work_with_numbers_and_a_way_out():
    net, x = MLP((5, 8, 1000)), torch.zeros(300, 5)
    with pytest.raises(MemoryError) as error:
        ntk(net, x, "full")  # 300 000^2 numbers
    message = str(error.value)
    assert "300 inputs with 1000 outputs" in message
    assert "needs about 362 GB, more than limit_gb=4" in message
    assert 'kind="trace" or ntk_random (from 0.' in message
    with pytest.raises(MemoryError, match="fewer inputs at a time"):
        ntk(net, x, limit_gb=1e-4)
    with pytest.raises(MemoryError, match=r"limit_gb=0\.0001"):
        ntk_random(net, x, limit_gb=1e-4)
    assert kernel_plan(net, x, "full").gigabytes == pytest.approx(362, rel=0.01)


def test_a_copy_of_the_model_has_the_same_kernel():
    net, x = case("convolutions")
    assert torch.equal(ntk(copy.deepcopy(net), x), ntk(net, x))
