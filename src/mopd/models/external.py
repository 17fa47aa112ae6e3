"""External teachers: another model with the student's token ids, which reads what the student reads and never moves."""

from __future__ import annotations

from typing import Any

from mopd.config import ComputeConfig, ExternalTeacher
from mopd.core.errors import ConfigError, StudentError
from mopd.models.devices import resolve_device
from mopd.models.pretrained import open_pretrained
from mopd.models.student import Student, window_of
from mopd.models.tokenizer import ChatTokenizer
from mopd.models.weights import convert_weights
from mopd.scoring.self_check import check_scoring
from mopd.scoring.vocabulary import restrict_vocabulary


def load_external(teacher: ExternalTeacher, student: Student, compute: ComputeConfig) -> Student:
    """The external teacher as a model that reads with the student's tokenizer, template and wording.

    Its weights are in the dtype of the student's matrix products and take no gradient; it predicts the ids that the
    student's tokens have. It is opened and tried in float32, in the machine's memory: rounding would hide what a trial
    looks for. Raises ConfigError where it cannot be opened, has another token at an id, or cannot be scored.
    """
    try:
        model, tokenizer = open_pretrained(teacher.model)
        _check_token_ids(teacher.model, model, tokenizer, student.tokenizer)
        restrict_vocabulary(model, student.tokenizer.token_ids)
        check_scoring(model.requires_grad_(False).eval())
    except StudentError as error:  # it is opened and tried as a student is
        raise ConfigError(
            "teacher.model is a model that could be a student, with the student's token ids",
            f"teacher.model = {teacher.model}: {error.got}",
            f"{error.must}: {error.do}",
        ) from error
    convert_weights(model, student.dtype)
    model.to(resolve_device(compute.device))
    window, note = window_of(model.config, tokenizer)
    return Student(student.tokenizer, student.template, window, note, model, student.dtype)


def _check_token_ids(name: str, model: Any, tokenizer: Any, student: ChatTokenizer) -> None:
    """Each id of the student's means the same token to the teacher, which has a row for it. Raises ConfigError."""
    must, do = "an external teacher has the student's token ids", "use a teacher of the student's own family"
    own, theirs = ({index: token for token, index in t.get_vocab().items()} for t in (student.inner, tokenizer))
    differing = [index for index, token in sorted(own.items()) if theirs.get(index) != token]
    if differing:
        first = differing[0]
        other = repr(theirs[first]) if first in theirs else "no token"
        got = f"id {first} is {own[first]!r} to the student and {other} to {name}"
        raise ConfigError(must, f"{got}; {len(differing):,} of {len(own):,} ids differ", do)
    rows = int(model.get_output_embeddings().weight.shape[0])
    if rows < student.size:
        raise ConfigError(must, f"{student.size} ids, but {name} has {rows} rows", do)
