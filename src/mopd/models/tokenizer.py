"""Token ids: chat prompts to ids and completions back to text, with the checks that templates need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mopd.core.errors import ProblemError, StudentError
from mopd.core.types import Messages


class ChatTokenizer:
    """A Hugging Face tokenizer seen through its chat template.

    `end_ids` are the ids that end a completion (the tokenizer's and the generation configuration's). `options` go to
    the template with every conversation, so that student and teacher begin their turn alike, thinking or not.
    Raises StudentError where there is no chat template or no end token.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int] = (), options: Mapping[str, Any] | None = None) -> None:
        self.inner = tokenizer
        self.options = dict(options or {})
        if not tokenizer.chat_template:
            raise StudentError(
                "the student's tokenizer has a chat template",
                f"none in {tokenizer.name_or_path or 'the tokenizer'}",
                "set tokenizer.chat_template and save the tokenizer again, or use an instruction-tuned model",
            )
        own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        self.end_ids = frozenset([*own, *end_ids])
        if not self.end_ids:
            raise StudentError("the student has an end-of-sequence token", "none", "set eos_token in its tokenizer")
        self.pad_id: int = min(self.end_ids) if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @property
    def size(self) -> int:
        """One more than the largest token id."""
        return 1 + max(int(index) for index in self.inner.get_vocab().values())

    def encode_prompt(self, messages: Messages) -> list[int]:
        """Token ids of a conversation, generation header included. Raises ProblemError where it cannot be encoded."""
        encoded = self._apply_template(messages, tokenize=True, return_dict=True)
        ids = [int(token) for token in encoded["input_ids"]]
        self._refuse_double_bos(ids)
        return ids

    def _apply_template(self, messages: Messages, **how: Any) -> Any:
        try:
            return self.inner.apply_chat_template(list(messages), add_generation_prompt=True, **how, **self.options)
        except Exception as error:  # templates are programs and raise whatever they like
            raise ProblemError(
                "the student's chat template and vocabulary can render the prompt",
                f"{type(error).__name__}: {error}; roles {', '.join(turn['role'] for turn in messages)}; "
                f"prompt {str(messages[-1]['content'])[:80]!r}",
                "change the prompt (some templates take no system turn: put its text into the user turn), "
                "or use a student whose tokenizer covers it",
            ) from error

    def generation_header(self, messages: Messages) -> str | None:
        """What the template writes behind the last turn, a thinking boundary included; None where it hides the turn."""
        text, content = str(self._apply_template(messages, tokenize=False)), str(messages[-1]["content"])
        for shown in (content, content.strip()):  # some templates strip what they show
            _, found, header = text.rpartition(shown)
            if found:
                return header
        return None

    def render(self, messages: Messages) -> str:
        """A conversation as the template writes it, generation header included: the text behind `encode_prompt`."""
        return str(self.inner.decode(self.encode_prompt(messages), skip_special_tokens=False))

    def _refuse_double_bos(self, ids: Sequence[int]) -> None:
        bos = self.inner.bos_token_id
        if bos is not None and list(ids[:2]) == [bos, bos]:
            raise StudentError(
                "a prompt begins with at most one beginning-of-sequence token",
                f"two ({self.inner.bos_token!r})",
                "remove it from the chat template or from the tokenizer's post-processor",
            )

    def encode_completion(self, text: str) -> list[int]:
        """Token ids of a completion's text, without any special token added."""
        return [int(token) for token in self.inner(text, add_special_tokens=False)["input_ids"]]

    @property
    def end_id(self) -> int:
        """The id that ends a demonstrated completion."""
        return int(self.inner.eos_token_id) if self.inner.eos_token_id is not None else min(self.end_ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of a completion without special tokens."""
        return str(self.inner.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
