"""What a run of a configuration needs: bytes by part, seconds by phase, whether it fits, and what would help."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from mopd.config import Config, override_config
from mopd.core.errors import ConfigError, MopdError
from mopd.estimating.devices import CONTEXT, Device, card, cards, this_machine
from mopd.estimating.exchange import LINK_SHARE, exchange_seconds
from mopd.estimating.layout import EXPECTED_SHARE, Layout, layout_of
from mopd.estimating.memory import Traced, peak, teacher_of, varying_parts
from mopd.estimating.plan import Part, keeping_of, plan_of, process_parts
from mopd.estimating.seconds import step_seconds
from mopd.estimating.sizes import Shapes, architecture_of, empty_model, shapes_of
from mopd.estimating.tracing import StandIn
from mopd.models.devices import held_memory_bytes, resolve_device, resolve_dtype
from mopd.models.student import Reader, load_reader
from mopd.preflight.setup import prepare_problems
from mopd.problems import ProblemSet


@dataclass(frozen=True)
class Needs:
    """What one kind of step needs. `peak` bytes are held at once in phase `phase`; seconds by phase."""

    completion_tokens: int
    parts: tuple[Part, ...]
    phase: str
    peak: int
    host: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Help:
    """A setting that lowers the peak, and by how many bytes."""

    setting: str
    bytes: int


@dataclass(frozen=True)
class Estimate:
    """Of `student` on `device`, with `expected` lengths and with the `worst` that the settings allow. `holder` is the
    smallest card of the table that holds the worst case, None where none does. Of several `devices` all figures are
    those of the one that has most problems of a step."""

    student: str
    parameters: int
    products: str
    device: Device
    certain: int
    expected: Needs
    worst: Needs
    helps: tuple[Help, ...]
    holder: str | None
    assumptions: tuple[str, ...]
    devices: int = 1

    @property
    def fits(self) -> bool:
        """Whether the worst case fits what is free."""
        return self.worst.peak <= self.device.free

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON has it: bytes and seconds."""
        found = dataclasses.asdict(self) | {"fits": self.fits}
        for needs in (found["expected"], found["worst"]):
            needs["parts"] = [{**part, "phases": sorted(part["phases"])} for part in needs["parts"]]
        return found


HELPS = (
    "compute.microbatch_tokens={half_microbatch}",
    "compute.sampling_rows={half_rows}",
    "optimizer.fall_share=0 optimizer.drift_nats=0",
    "compute.weights='bfloat16'",
    "compute.moments='8bit'",
    "compute.teacher='bfloat16'",
    "lora.rank=16",
    "compute.dtype='float32'",
)
"""Settings that may lower the peak, as overrides. What each saves is found by estimating with it."""

IN_BFLOAT16 = ("compute.weights='bfloat16'", "compute.teacher='bfloat16'")
"""Those of them that need products in bfloat16."""


def estimate(config: Config, device: str = "auto", devices: int = 1) -> Estimate:
    """What a run of `config` needs on `auto`, `cpu`, another device of this machine, or a card by name; on each of
    `devices` of one host, where there are several.

    No weights are read. Raises MopdError where problems, student or device cannot be.
    """
    if devices < 1:
        raise ConfigError("--devices is a number of devices, at least 1", f"--devices {devices}", "change it")
    return Estimator.of(config, device, devices).estimate()


@dataclass
class Estimator:
    """What all estimates of one student on one device share. `architecture` is transformers' configuration of the
    model; `process` the bytes of the device that the process itself takes."""

    config: Config
    reader: Reader
    problems: ProblemSet
    architecture: Any
    device: Device
    products: str
    process: int
    devices: int = 1

    @classmethod
    def of(cls, config: Config, device: str, devices: int = 1) -> Estimator:
        """Read tokenizer and problems, and find the device."""
        named = None if device in ("auto", "cpu") or device.startswith("cuda") else card(device)
        architecture = architecture_of(config.student)
        reader, problems = load_reader(config.student, config.chat.options), prepare_problems(config)
        if named is not None:
            return cls(config, reader, problems, architecture, named, products_on_card(config), CONTEXT, devices)
        if config.compute.threads is not None:
            torch.set_num_threads(config.compute.threads)
        process = held_memory_bytes()
        own = resolve_device(config.compute.device if device == "auto" else device)
        products = products_of(resolve_dtype(config.compute.dtype, own, empty_model(architecture)))
        process = CONTEXT if own.type == "cuda" else process
        here = this_machine(own, products)
        return cls(config, reader, problems, architecture, here, products, process, devices)

    def estimate(self) -> Estimate:
        """The whole of it."""
        shapes = shapes_of(empty_model(self.architecture))
        on_cards = self.on_cards()
        expected, worst = (self.needs(self.config, is_worst) for is_worst in (False, True))
        certain = sum(part.bytes for part in plan_of(self.config, shapes, self.products, self.devices))
        return Estimate(
            student=self.config.student,
            parameters=shapes.count,
            products=self.products,
            device=self.device,
            certain=certain,
            expected=expected,
            worst=worst,
            helps=() if worst.peak <= self.device.free else self.helps(worst.peak),
            holder=next((one.name for one in cards() if on_cards.peak <= one.free), None),
            assumptions=assumptions(self.config, self.device, self.devices),
            devices=self.devices,
        )

    def on_cards(self) -> Needs:
        """The worst case with the products that a card has, whichever it is."""
        products = products_on_card(self.config)
        there = dataclasses.replace(self, device=cards()[0], products=products, process=CONTEXT)
        return there.needs(self.config, True)

    def needs(self, config: Config, is_worst: bool) -> Needs:
        """What a step of `config` needs, with the lengths that are expected or the longest."""
        config = own_share(config, self.devices)
        layout = layout_of(config, self.reader, self.problems, is_worst)
        model = empty_model(self.architecture)
        shapes = shapes_of(model)
        dtype = torch.bfloat16 if self.products == "bfloat16" else torch.float32
        student = Traced(shapes, StandIn.of(config, model, dtype, self.device.is_gpu))
        parts = [
            *plan_of(config, shapes, self.products, self.devices),
            *process_parts(self.process, self.products, self.device.is_gpu),
            *varying_parts(config, layout, student, teacher_of(config, student)),
        ]
        phase, most = peak(parts)
        return Needs(
            completion_tokens=layout.completion,
            parts=tuple(parts),
            phase=phase,
            peak=most,
            host=sum(part.host_bytes for part in parts),
            seconds=self._seconds(config, shapes, layout, student.stand_in.shares),
        )

    def seconds(self, is_worst: bool) -> dict[str, float]:
        """Seconds by phase alone, of a model that shares prefixes."""
        config = own_share(self.config, self.devices)
        layout = layout_of(config, self.reader, self.problems, is_worst)
        return self._seconds(config, shapes_of(empty_model(self.architecture)), layout, True)

    def _seconds(self, config: Config, shapes: Shapes, layout: Layout, shares: bool) -> dict[str, float]:
        keeping = keeping_of(config, shapes, self.products, self.devices)
        own = step_seconds(config, shapes, layout, self.device, keeping, shares)
        return own | exchange_seconds(config, shapes, layout, self.device, keeping, self.devices)

    def helps(self, most: int) -> tuple[Help, ...]:
        """The settings that lower the worst case's peak, the most helpful first."""
        compute = self.config.compute
        values = {
            "half_microbatch": max(64, compute.microbatch_tokens // 2),
            "half_rows": max(1, compute.sampling_rows // 2),
        }
        found = []
        for template in HELPS:
            setting = template.format(**values)
            if setting in IN_BFLOAT16 and self.products != "bfloat16":
                continue
            try:
                saved = most - self.needs(override_config(self.config, setting.split(), "what helps"), True).peak
            except MopdError:  # a setting that this configuration cannot have
                continue
            if saved > 0:
                found.append(Help(setting, saved))
        return tuple(sorted(found, key=lambda one: -one.bytes))


def own_share(config: Config, devices: int) -> Config:
    """What one of several devices does of a step: groups stay whole, and this is the one that has most problems."""
    problems, contexts = (
        math.ceil(count / devices) for count in (config.problems_per_step, config.evaluation.reading_contexts)
    )
    evaluation = config.evaluation.model_copy(update={"reading_contexts": contexts})
    return config.model_copy(update={"problems_per_step": problems, "evaluation": evaluation})


def products_of(dtype: torch.dtype) -> str:
    """A dtype by the name that the configuration has for it."""
    return str(dtype).removeprefix("torch.")


def products_on_card(config: Config) -> str:
    """The dtype of products on a card of the table: all of them multiply bfloat16."""
    return "float32" if config.compute.dtype == "float32" else "bfloat16"


def assumptions(config: Config, device: Device, devices: int = 1) -> tuple[str, ...]:
    """What nobody knows before a run, and what is taken for it."""
    tokens = config.sampling.completion_tokens
    said = [
        f"expected: completions of {EXPECTED_SHARE:.0%} of sampling.completion_tokens; worst: all {tokens} tokens, the "
        "longest prompts, full contexts".replace("%", " %"),
        "every rollout gets a lesson; verification takes time that is not known here",
        f"a step reaches {device.share:.0%} of the device's rates".replace("%", " %")
        + ("; its rates are the maker's, nothing was measured there" if device.is_published else ""),
    ]
    if config.served_teacher is not None:
        said.append("seconds of a teacher on servers are not known")
    if devices > 1:
        link = f"{device.link / 1e9:,.0f} GB/s, of which {round(100 * LINK_SHARE)} % are reached"
        said.append(f"devices of one host, linked at {link}; what they exchange is not hidden behind computing")
    return tuple(said)
