"""Devices, processes and precision: the only import of Lightning Fabric, and with ``weights`` of torch.distributed.

Traps that shape this file. DDP averages gradients over ranks, a token-exact loss needs their sum: the loss is scaled
by the number of ranks. Fabric's bf16-mixed casts the *inputs* to bf16, images included: autocast is entered here. A
gradient hook that never fires on one rank hangs all others: every loss touches one `anchor`, also on a rank that has no
study left. Small host-side exchanges go over gloo, so that they never wait for the GPU.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn

from radwright.config import Config
from radwright.errors import ConfigError, TrainingError, require
from radwright.training.parent import end_with_parent, is_started_rank, named_as_parent
from radwright.training.weights import SharedWeights, Weights, WholeWeights
from radwright.types import Batch

T = TypeVar("T")
_LOST = ("closed by peer", "reset by peer", "Broken pipe", "Read error", "NCCL", "Timed out waiting")
"""What gloo and NCCL say when another process is gone."""


class EngineConfig(Config):
    """Where and how a training stage runs."""

    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: CUDA where there is one, otherwise the CPU."""
    processes: int = Field(default=1, ge=1)
    """Processes per machine, one per GPU on CUDA; more than one runs data-parallel."""
    machines: int = Field(default=1, ge=1)
    """Machines; more than one needs a launcher (torchrun, SLURM) and a run folder that all of them see."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """``bf16``: matrix products in bfloat16 (autocast), weights and sums in float32."""
    sharding: Literal["none", "full"] = "none"
    """``none``: every process holds all weights (DDP). ``full``: weights, gradients and optimiser moments are shared
    out over the processes (FSDP2): of 16 bytes a trainable weight a process holds 16 by their number between steps, and
    8 more while a step's gradient is made. The same steps, and the same files."""
    timeout_minutes: float = Field(default=120.0, gt=0)
    """How long a process waits for the others before it gives up; must exceed the longest validation."""


class StepModule(nn.Module):
    """An objective with its terms' scales applied: what is wrapped for data-parallel training.

    Attributes:
        objective: the module handed in.
        anchor: a zero that enters every loss with weight 0; no optimiser holds it.
        completed: what every loss goes through at last.
    """

    def __init__(self, objective: nn.Module, precision: str) -> None:
        super().__init__()
        self.objective = objective
        self.anchor = nn.Parameter(torch.zeros(()))
        self.completed: Callable[[Tensor], Tensor] = lambda loss: loss
        self._bf16 = precision == "bf16"

    def forward(self, batch: Batch | None, scales: Mapping[str, float]) -> tuple[Tensor, Tensor]:
        """One micro-batch.

        Args:
            batch: studies on this module's device; None contributes zeros.
            scales: factor per term; its order is the order of the sums.

        Returns:
            The scalar sum_n scales[n] * sum_n, differentiable, and the unscaled sums, detached, float64, one per scale.

        Raises:
            TrainingError: the objective returned a term that has no weight.
        """
        loss = 0.0 * self.anchor
        if batch is None and getattr(self.objective, "couples_studies", False):
            with torch.autocast(loss.device.type, dtype=torch.bfloat16, enabled=self._bf16):
                for value in self.objective(None).values():
                    loss = loss + 0.0 * value
        if batch is None:
            return self.completed(loss), torch.zeros(len(scales), dtype=torch.float64, device=loss.device)
        with torch.autocast(loss.device.type, dtype=torch.bfloat16, enabled=self._bf16):
            sums = self.objective(batch)
        unknown = sorted(set(sums) - set(scales))
        if unknown:
            raise TrainingError(f"the objective returned terms without a weight: {', '.join(unknown)}")
        for name, value in sums.items():
            loss = loss + scales[name] * value
        zero = loss.new_zeros((), dtype=torch.float64)
        each = [sums[name].detach().double() if name in sums else zero for name in scales]
        return self.completed(loss), torch.stack(each)


class Engine:
    """The processes of one run. Making it starts the others, where the config asks for several.

    With several processes on one machine the program is started anew in each: make the engine before anything with an
    effect, and do such things on the main process only.

    Attributes:
        rank: this process's number, 0 for the main one.
        num_ranks: processes in all.
        device: this process's device.
    """

    def __init__(self, config: EngineConfig) -> None:
        """Start the processes.

        Raises:
            ConfigError: more processes than GPUs, or CUDA asked for where there is none.
            MissingExtraError: Lightning Fabric is not installed.
        """
        fabric = require("lightning_fabric", extra="train")
        strategies = require("lightning_fabric.strategies", extra="train")
        accelerator = _accelerator(config)
        self.config = config
        end_with_parent()
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        several = config.processes * config.machines > 1
        strategy: Any = "auto"
        self.is_sharded = several and config.sharding == "full"
        if self.is_sharded:
            strategy = strategies.ModelParallelStrategy(
                parallelize_fn=self._share_out,
                data_parallel_size=config.processes * config.machines,
                tensor_parallel_size=1,
                timeout=timedelta(minutes=config.timeout_minutes),
            )
        elif several:
            warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
            # 1x1 kernels have two spellings of one memory layout; nothing is slow or wrong.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            strategy = strategies.DDPStrategy(
                timeout=timedelta(minutes=config.timeout_minutes),
                start_method="popen",
                # An objective may use other parameters in each step; unused ones keep no gradient, as in one process.
                find_unused_parameters=True,
                broadcast_buffers=False,
            )
        self._fabric = fabric.Fabric(
            accelerator=accelerator, devices=config.processes, num_nodes=config.machines, strategy=strategy
        )
        with nullcontext() if is_started_rank() else named_as_parent():
            self._fabric.launch()
        self.rank: int = self._fabric.global_rank
        self.num_ranks: int = self._fabric.world_size
        self.device: torch.device = self._fabric.device
        self._host: Any = None
        if self.num_ranks > 1:
            self._host = dist.new_group(backend="gloo", timeout=timedelta(minutes=config.timeout_minutes))

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Move the objective to the device (in place) and return the wrapped `StepModule`; weights become rank 0's.

        ``weights`` then says where they lie. What is frozen must be by now.

        Raises:
            ConfigError: the weights cannot be shared out.
        """
        self.weights: Weights = WholeWeights(objective)
        with warnings.catch_warnings():
            # torch names a successor that the oldest torch we support does not have.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            wrapped: nn.Module = self._fabric.setup_module(StepModule(objective, self.config.precision))
        self.share_buffers(objective)
        return wrapped

    def _share_out(self, module: nn.Module, mesh: Any) -> nn.Module:
        """What Fabric calls for FSDP2, with the `StepModule`."""
        module.to(self.device)
        for weight in module.parameters():
            dist.broadcast(weight.data, src=0)
        mesh = mesh["data_parallel"]
        self.weights = shared = SharedWeights(module, mesh, lambda tensor: dist.all_reduce(tensor))
        module.completed = shared.all_used  # type: ignore[assignment]
        return module

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``; over ranks they are averaged."""
        self._fabric.backward(loss)

    def unsynced(self, wrapped: nn.Module, enabled: bool = True) -> AbstractContextManager[Any]:
        """Inside, gradients stay this rank's own (all but the last micro-batch of a step). No-op in one process."""
        if self.num_ranks == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self._fabric.no_backward_sync(wrapped, enabled=enabled)
        return context

    @contextmanager
    def told_of_lost_ranks(self) -> Iterator[None]:
        """Inside, a broken connection to another process becomes an error that says what to do.

        Raises:
            TrainingError: another process of the run has ended or cannot be reached.
        """
        try:
            yield
        except RuntimeError as error:
            words = str(error)
            if self.num_ranks == 1 or not any(sign in words for sign in _LOST):
                raise
            raise TrainingError(
                f"process {self.rank} of {self.num_ranks} has lost another one, which was killed, failed or cannot be "
                "reached (its own message says why, if it had time for one). The same command goes on from the last "
                "saved state, from the start where there was none yet, with any number of processes (engine.processes)"
            ) from error

    def sum(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over the ranks, in float64."""
        if self.num_ranks == 1:
            return [float(value) for value in values]
        total = torch.tensor(list(values), dtype=torch.float64)
        dist.all_reduce(total, group=self._host)
        result: list[float] = total.tolist()
        return result

    def gather(self, value: T) -> list[T]:
        """Every rank's value, in rank order, on every rank (plain values: they are pickled between own processes)."""
        if self.num_ranks == 1:
            return [value]
        values: list[Any] = [None] * self.num_ranks
        dist.all_gather_object(values, value, group=self._host)
        return values

    def join(self, rows: Tensor) -> Tensor:
        """Every rank's rows one below the other, in rank order; gradients of all ranks reach each one's own rows.

        The ranks may hold different numbers of rows, none too; all other sizes are equal. Called by every rank at the
        same places of a step, in forward and backward alike.
        """
        if self.num_ranks == 1:
            return rows
        joined: Tensor = _Join.apply(rows, self.gather(len(rows)), self.rank)  # type: ignore[no-untyped-call]
        return joined

    def broadcast(self, value: T) -> T:
        """Rank 0's value on every rank."""
        if self.num_ranks == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._host)
        return box[0]

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.num_ranks > 1:
            dist.barrier(group=self._host)

    def share_buffers(self, module: nn.Module) -> None:
        """Give every rank the main process's buffers (running statistics differ between ranks while training)."""
        if self.num_ranks > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def close(self) -> None:
        """Leave the group of processes; nothing of the engine may be used afterwards.

        Let go of what ``wrap`` gave before: when that is taken down after the group, a rank may wait for ever.
        """
        if self.num_ranks > 1 and dist.is_initialized():
            dist.destroy_process_group()


class _Join(torch.autograd.Function):
    """Rows of all ranks together; backward adds up what every rank's loss wants of them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int], rank: int) -> Tensor:
        """Rows are padded to the longest share for the exchange."""
        ctx.sizes, ctx.rank = sizes, rank
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        shares = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(shares, padded)
        return torch.cat([share[:size] for share, size in zip(shares, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The sum over the ranks, cut to this rank's rows."""
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return torch.split(total, ctx.sizes)[ctx.rank], None, None


def _accelerator(config: EngineConfig) -> str:
    """``cpu`` or ``cuda``, after checking that it can be had."""
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.accelerator == "cpu" or (config.accelerator == "auto" and num_gpus == 0):
        return "cpu"
    if num_gpus == 0:
        raise ConfigError("engine.accelerator = 'cuda': no CUDA device is available here; use cpu or auto")
    if config.processes > num_gpus:
        raise ConfigError(f"engine.processes = {config.processes}: this machine has {num_gpus} GPU(s), one per process")
    return "cuda"
