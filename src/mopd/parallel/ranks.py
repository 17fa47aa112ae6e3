"""Collectives of the processes of a run, called ranks.

All ranks call the same ones in the same order: what decides the way a run takes must be the same number in each. One
process is a `Ranks` whose collectives give back what they are given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mopd.core.errors import MopdError, RankError
from mopd.parallel.launch import launched

T = TypeVar("T")

BUCKET = 2**23
"""Numbers that are added up in one call."""


@dataclass(frozen=True)
class _Answer:
    """What came of asking the first rank: a value, or the error that it raised."""

    value: Any = None
    error: MopdError | None = None
    other: str = ""


class Ranks:
    """This process among those of a run: its number `rank`, from 0, of `size`; the first one writes the run.

    Each collective raises RankError where another rank has ended or did not answer within the time limit.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._is_asked = False

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    # --- the first rank alone ---------------------------------------------------------------------------------------

    def first(self, ask: Callable[[], T]) -> T:
        """What `ask` gives in the first rank, in all of them; an error that it raises there is raised in all.

        It is called in the first rank only and may itself ask the first rank.
        """
        if self.size == 1 or self._is_asked:
            return ask()
        answers = [self._answer(ask) if self.is_first else None]
        with _told_if_lost():
            dist.broadcast_object_list(answers, src=0)
        (answer,) = answers
        assert answer is not None
        if answer.error is not None:
            raise answer.error
        if answer.other:
            raise RankError("the first process does its part", answer.other, GO_ON)
        value: T = answer.value
        return value

    def _answer(self, ask: Callable[[], object]) -> _Answer:
        self._is_asked = True
        try:
            return _Answer(ask())
        except MopdError as error:
            return _Answer(error=error)
        except BaseException as error:
            self._tell_failure(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._is_asked = False

    def _tell_failure(self, text: str) -> None:
        with _told_if_lost():
            dist.broadcast_object_list([_Answer(other=text)], src=0)

    def only_first(self, do: Callable[[], T]) -> T | None:
        """What `do` gives in the first rank, there; None elsewhere. Its error is raised in all."""
        kept: list[T] = []
        self.first(lambda: kept.append(do()))
        return kept[0] if kept else None

    # --- values -----------------------------------------------------------------------------------------------------

    def gather(self, value: T) -> list[T]:
        """The value of each rank, in their order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _told_if_lost():
            dist.all_gather_object(values, value)
        return values

    def sum_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """By name the sum over ranks, added up in their order; a name that a rank does not have counts as 0 there."""
        total: dict[str, float] = {}
        for of_rank in self.gather(dict(numbers)):
            for name, number in of_rank.items():
                total[name] = total[name] + number if name in total else number
        return total

    def largest(self, number: int) -> int:
        """The largest of a number over ranks."""
        return max(self.gather(number))

    def check_same(self, what: str, value: object) -> None:
        """Raises RankError where a value that follows from the same inputs is not the same in all ranks."""
        values = self.gather(value)
        others = [rank for rank, other in enumerate(values) if other != values[0]]
        if others:
            raise RankError(
                f"{what} are the same in every process",
                f"process {others[0]} has others than process 0",
                "see that all hosts have the same files and packages; a run goes on from its newest checkpoint",
            )

    # --- tensors ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the values that they have in the first rank, in place."""
        if self.size == 1:
            return
        with _told_if_lost():
            for tensor in tensors:
                whole = tensor.data.contiguous()
                dist.broadcast(whole, src=0)
                if whole is not tensor.data:
                    tensor.data.copy_(whole)

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add up the gradients of all ranks, in place; one that has no gradient of a parameter counts as zeros."""
        if self.size == 1 or not parameters:
            return
        is_there = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
        with _told_if_lost():
            dist.all_reduce(is_there, op=dist.ReduceOp.MAX)
            used = [one for one, is_used in zip(parameters, is_there.tolist(), strict=True) if is_used]
            for bucket in _buckets(used):
                for parameter in bucket:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                _sum_in_place([parameter.grad for parameter in bucket if parameter.grad is not None])


GO_ON = "`mopd train --resume RUN` under the launcher goes on from the newest checkpoint"
"""What to do where a run lost a process."""

ONE = Ranks()
"""The one process of a run that no launcher started."""


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Parameters in order, in parts of one dtype and device and at most `BUCKET` numbers, or one parameter."""
    bucket: list[Tensor] = []
    for one in parameters:
        is_alike = bool(bucket) and (one.dtype, one.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and not (is_alike and sum(map(torch.numel, bucket)) + one.numel() <= BUCKET):
            yield bucket
            bucket = []
        bucket.append(one)
    if bucket:
        yield bucket


def _sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Half precision is added up in float32, and rounded once."""
    wide = torch.promote_types(tensors[0].dtype, torch.float32)
    flat = torch.cat([tensor.reshape(-1).to(wide) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, summed in zip(tensors, torch.split(flat, [one.numel() for one in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


@contextmanager
def _told_if_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo and of NCCL: a connection that was closed, or a time limit
        raise lost(error) from error


def lost(error: RuntimeError) -> RankError:
    """The error of a collective as one that says what to do."""
    return RankError(
        "every process of a run stays until its end",
        f"another process of this run has ended or does not answer ({' '.join(str(error).split())[:200]})",
        f"see what ended it; {GO_ON}",
    )


@contextmanager
def told_if_rank_lost() -> Iterator[None]:
    """What a collective raises that another library calls within the block, as RankError."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in ("gloo", "nccl", "connection closed", "connection reset")):
            raise
        raise lost(error) from error


# --- opening --------------------------------------------------------------------------------------------------------


@contextmanager
def open_ranks(timeout_s: float) -> Iterator[Ranks]:
    """The ranks that a launcher started, connected while the block runs; `ONE` where there was no launcher.

    On a machine with GPUs each rank computes on that of its number on its host, and tensors there are added up by
    NCCL; all else goes over gloo. A group that the caller has made already is used, and stays. Raises RankError.
    """
    own = launched()
    if own is None:
        yield ONE
        return
    _choose_gpu(own.local_rank, own.local_size)
    is_ours = not dist.is_initialized()
    if is_ours:
        _connect(timeout_s)
    yield Ranks(dist.get_rank(), dist.get_world_size())
    if is_ours:  # not behind an error: the others may be gone, and would be waited for
        dist.destroy_process_group()


def _connect(timeout_s: float) -> None:
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise RankError(
            f"the processes of a run meet at {where}",
            " ".join(str(error).split())[:300],
            "see that this address can be reached from every host, and its port is free; on several networks name one "
            "by GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME",
        ) from error


def _choose_gpu(local_rank: int, local_size: int) -> None:
    if not torch.cuda.is_available():
        return
    if local_size > torch.cuda.device_count():
        raise RankError(
            "each process of a host has a GPU of its own",
            f"{local_size} processes, {torch.cuda.device_count()} GPUs",
            "start as many processes as there are GPUs, or hide the GPUs with CUDA_VISIBLE_DEVICES= to use CPUs",
        )
    torch.cuda.set_device(local_rank)
