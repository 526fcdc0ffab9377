"""Where a run's weights lie: whole on every process, or shared out over them (FSDP2).

The optimiser, clipping, averages and the saved state all work on the parameters that this process updates: its own
whole ones, or its share of each, a plain tensor in the memory that FSDP2 gathers from. So they need not know which.

FSDP2 shares out one unit, the whole network: weights are gathered before a micro-batch and dropped after its gradient;
between steps a process holds its share of weights, gradients and moments. Units of single layers would hold less at
once, but each gathers for itself: a process whose share of a step has no study, or that uses other layers than the
next, would leave the others waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from radwright.errors import ConfigError

AllReduce = Callable[[Tensor], None]
"""Adds up a tensor over the processes, in place."""


NormOf = Callable[[Sequence[nn.Parameter]], Tensor]
"""L2 norm of all gradients of some parameters."""


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """L2 norm of the gradients at hand, a scalar on their device; 0 where there is none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients, foreach=True) if gradients else torch.zeros(())


class Weights(Protocol):
    """The parameters that a process updates, and the way between them and whole ones."""

    is_shared: bool
    """Whether this process holds a share only; then every process must take part in what follows."""

    def named(self) -> dict[str, nn.Parameter]:
        """The parameters to update, by their names in the objective; those too that are frozen."""
        ...

    def settle(self) -> None:
        """After a step's last backward pass: gradients are where `named` has its parameters."""
        ...

    def norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """L2 norm of all gradients, those of other processes' shares too; a scalar on their device."""
        ...

    def gather(self, name: str, share: Tensor) -> Tensor:
        """Of a tensor that lies as parameter ``name`` does: all of it."""
        ...

    def cut(self, name: str, whole: Tensor) -> Tensor:
        """The part of it that this process keeps."""
        ...

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors by their names in the objective's state, as its ``load_state_dict`` takes them."""
        ...

    def whole(self) -> AbstractContextManager[None]:
        """A context in which the objective holds all its weights, as in one process; to be read, not to be changed."""
        ...


class WholeWeights:
    """Every process holds everything."""

    is_shared = False

    def __init__(self, objective: nn.Module) -> None:
        self._objective = objective

    def named(self) -> dict[str, nn.Parameter]:
        """The objective's own."""
        return dict(self._objective.named_parameters())

    def settle(self) -> None:
        """They are there."""

    def norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Of this process's gradients, which are everyone's."""
        return gradient_norm(parameters)

    def gather(self, name: str, share: Tensor) -> Tensor:
        """The tensor itself."""
        return share

    def cut(self, name: str, whole: Tensor) -> Tensor:
        """The tensor itself."""
        return whole

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors themselves."""
        return dict(tensors)

    def whole(self) -> AbstractContextManager[None]:
        """They are whole."""
        return nullcontext()


class SharedWeights:
    """Each process holds a share of every weight (its first dimension is cut), and scalars whole.

    Args:
        step_module: what is wrapped, with the objective as its ``objective``; its weights are equal on all processes.
        mesh: one dimension, over all processes.
        sum_over: adds up over the processes.

    Raises:
        ConfigError: trainable weights of several precisions, or a PyTorch that cannot do it.
    """

    is_shared = True

    def __init__(self, step_module: nn.Module, mesh: Any, sum_over: AllReduce) -> None:
        objective: nn.Module = step_module.objective  # type: ignore[assignment]
        self._module, self._objective, self._mesh, self._sum_over = step_module, objective, mesh, sum_over
        trainable = [weight for weight in objective.parameters() if weight.requires_grad and weight.ndim]
        if len({weight.dtype for weight in trainable}) > 1:
            kinds = ", ".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in trainable}))
            raise ConfigError(
                f"engine.sharding = 'full': needs weights of one precision, these are {kinds}; use 'none'"
            )
        _shard(step_module, mesh)
        self._scalars = {name: weight for name, weight in objective.named_parameters() if not weight.ndim}
        self._shares = {name: _share(weight) for name, weight in objective.named_parameters()}
        self._used: dict[str, bool] = {}

    def named(self) -> dict[str, nn.Parameter]:
        """Shares, and scalars."""
        return dict(self._shares)

    def all_used(self, loss: Tensor) -> Tensor:
        """The loss with nothing added, in which every trainable weight takes part: FSDP2 exchanges all gradients at
        once, so each must be there on every process. Which ones take part by themselves is remembered.
        """
        reached = _leaves(loss)
        unused = []
        for name, weight in self._objective.named_parameters():
            if not weight.requires_grad:
                continue
            if id(weight) in reached:
                self._used[name] = True
            else:
                self._used.setdefault(name, False)
                unused.append(weight)
        for weight in unused:
            loss = loss + 0.0 * weight.sum()
        return loss

    def settle(self) -> None:
        """Gradients to the shares; scalars' are averaged as FSDP2 averages the others; none where nobody used a weight,
        as in one process.
        """
        names = list(self._used)
        device = next(iter(self._shares.values())).device
        used = torch.tensor([float(self._used[name]) for name in names], device=device)
        self._sum_over(used)
        weights = dict(self._objective.named_parameters())
        for name, count in zip(names, used.tolist(), strict=True):
            gradient = weights[name].grad
            if name in self._scalars:
                gradient = torch.zeros_like(weights[name]) if gradient is None else gradient
                self._sum_over(gradient)
                gradient /= self._mesh.size()
            share = self._shares[name]
            share.grad = None if not count or gradient is None else _local(gradient)
            if not count:
                weights[name].grad = None
        self._used.clear()

    def norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Shares' squares are added up over the processes, scalars count once."""
        scalars = {id(weight) for weight in self._scalars.values()}
        shared = [p.grad for p in parameters if p.grad is not None and id(p) not in scalars and p.grad.numel()]
        single = [p.grad for p in parameters if p.grad is not None and id(p) in scalars]
        device = next(iter(self._shares.values())).device
        squares = [
            nn.utils.get_total_norm(gradients, foreach=True).double().square().to(device)
            if gradients
            else torch.zeros((), dtype=torch.float64, device=device)
            for gradients in (shared, single)
        ]
        self._sum_over(squares[0])
        return (squares[0] + squares[1]).sqrt()

    def gather(self, name: str, share: Tensor) -> Tensor:
        """All processes' shares put together; called by every process for the same names in the same order."""
        if name in self._scalars or share.shape != self._shares[name].shape:
            return share
        weight = dict(self._objective.named_parameters())[name]
        return _whole(_like(weight, share))

    def cut(self, name: str, whole: Tensor) -> Tensor:
        """This process's share."""
        weight = dict(self._objective.named_parameters())[name]
        if name in self._scalars or whole.shape != weight.shape:
            return whole
        return _local(_spread(weight, whole))

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cut as the weights of their names are."""
        own = self._objective.state_dict()
        shared = {name for name, weight in own.items() if _is_shared(weight) and name in tensors}
        fitting = {name for name in shared if own[name].shape == tensors[name].shape}
        return {name: _spread(own[name], whole) if name in fitting else whole for name, whole in tensors.items()}

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The objective's parameters are plain and complete meanwhile, a copy on every process."""
        places = [
            (module, name, weight)
            for module in self._objective.modules()
            for name, weight in module._parameters.items()
            if weight is not None and _is_shared(weight)
        ]
        whole: dict[int, nn.Parameter] = {}
        for _, _, weight in places:
            if id(weight) not in whole:  # a weight that lies in two modules stays one
                full = _whole(weight.detach())
                whole[id(weight)] = nn.Parameter(full, requires_grad=weight.requires_grad)
        for module, name, weight in places:
            module._parameters[name] = whole[id(weight)]
        try:
            yield
        finally:
            for module, name, weight in places:
                module._parameters[name] = weight


def _shard(step_module: nn.Module, mesh: Any) -> None:
    """Let FSDP2 have the module.

    Raises:
        ConfigError: this PyTorch has no such FSDP2.
    """
    try:
        from torch.distributed.fsdp import fully_shard

        for weight in step_module.parameters():
            weight.data = weight.data.contiguous()  # FSDP2 takes no other order, channels last say
        scalars = {weight for weight in step_module.parameters() if not weight.ndim}
        sharded = fully_shard(step_module, mesh=mesh, reshard_after_forward=False, ignored_params=scalars)
        if mesh.device_type == "cpu":
            sharded.set_force_sum_reduction_for_comms(True)  # gloo does not average
    except (ImportError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"engine.sharding = 'full': PyTorch {torch.__version__} cannot do it ({error}); take a newer one, or 'none'"
        ) from error


def _share(weight: nn.Parameter) -> nn.Parameter:
    """What of a weight this process updates, in the weight's own memory."""
    return nn.Parameter(_local(weight), requires_grad=weight.requires_grad) if _is_shared(weight) else weight


def _is_shared(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _local(tensor: Tensor) -> Tensor:
    found: Tensor = getattr(tensor.detach(), "to_local", tensor.detach)()
    return found


def _whole(tensor: Any) -> Tensor:
    found: Tensor = tensor.full_tensor()
    return found


def _like(weight: Any, share: Tensor) -> Any:
    """A share of a tensor that is shared out as a weight is."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        share, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )


def _spread(weight: Any, whole: Tensor) -> Tensor:
    """A tensor that every process has whole, shared out as a weight is."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


def _leaves(loss: Tensor) -> set[int]:
    """Ids of the leaves that a loss depends on."""
    found: set[int] = set()
    seen: set[Any] = set()
    waiting = [loss.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.add(id(variable))
        waiting += [following for following, _ in node.next_functions]
    return found
