"""The servers that a configuration needs on this machine: which model they open, in which dtype, for how long texts."""

from __future__ import annotations

import torch

from mopd.config import Config, is_on_this_machine
from mopd.core.errors import ConfigError
from mopd.estimating.estimate import products_of
from mopd.estimating.sizes import architecture_of, empty_model
from mopd.models.adapter_files import find_adapter
from mopd.models.devices import resolve_device, resolve_dtype
from mopd.models.student import load_reader
from mopd.preflight.checks import needs_context
from mopd.preflight.setup import prepare_problems
from mopd.serving.command import Served, ServerCommand, server_commands


def needed_servers(config: Config) -> list[ServerCommand]:
    """How the servers of a configuration are started that are on this machine. Raises MopdError."""
    found: list[ServerCommand] = []
    if config.engine.kind == "vllm":
        urls = [url for url in config.engine.servers if is_on_this_machine(url)]
        served = _served(config, _opened_by_servers(config.student), None)
        found += server_commands(served, urls, config.engine.environment, config.engine.arguments)
    teacher = config.served_teacher
    if teacher is not None and teacher.model:
        urls = [url for url in teacher.servers if is_on_this_machine(url)]
        environment = config.engine.environment if config.engine.kind == "vllm" else ".venv-vllm"
        found += server_commands(_served(config, teacher.model, config.divergence.k), urls, environment)
    if not found:
        raise ConfigError(
            "a configuration names servers on this machine (engine.servers, or teacher.servers with teacher.model)",
            f"engine.kind = '{config.engine.kind}', teacher.kind = '{config.teacher.kind}'",
            "set engine.kind = 'vllm', or start the servers where they are: docs/serving.md says how",
        )
    return found


def _served(config: Config, model: str, told: int | None) -> Served:
    reader, problems = load_reader(config.student, config.chat.options), prepare_problems(config)
    longest = max(len(reader.tokenizer.encode_prompt(one.messages)) for one in problems.train + problems.held_out)
    context = config.context.tokens if needs_context(config) else 0
    window = min(reader.window, max(longest, context) + config.sampling.completion_tokens)
    device = resolve_device(config.compute.device)
    return Served(
        model=model,
        dtype=products_of(resolve_dtype(config.compute.dtype, device, empty_model(architecture_of(model)))),
        window=window + (told is not None),  # a teacher reads a whole text, and must write one token behind it
        at_once=config.compute.sampling_rows,
        lora_rank=None if config.lora is None or told is not None else config.lora.rank,
        told=told,
        gpus=torch.cuda.device_count() if device.type == "cuda" else 0,
    )


def _opened_by_servers(student: str) -> str:
    """The student as a server opens it too. Raises ConfigError."""
    if student.endswith(".gguf") or find_adapter(student) is not None:
        raise ConfigError(
            "servers open the student as transformers wrote it: a folder, or a hub id",
            f"student = {student}",
            "write it as a folder first: open it with mopd.models.student.load_student and call save(FOLDER)",
        )
    return student
