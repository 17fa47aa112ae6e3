"""Embedded students: small decoders with their own tokenizer, template and window, built in code, no download.

They are real transformers models: after `save_pretrained` any tool opens them. Untrained, they know nothing; the
`[warmup]` stage of a configuration teaches them a task and how to read peers.
"""

from __future__ import annotations

import difflib
import string
from dataclasses import dataclass
from typing import Any

from mopd.config import TemplateConfig
from mopd.core.errors import StudentError
from mopd.core.seeding import derive_seed

PREFIX = "builtin:"


@dataclass(frozen=True)
class EmbeddedStudent:
    """A character-level Llama decoder. `window` is in tokens, which here are characters.

    `markers` are eight characters outside the alphabet: padding, begin, end, header of the student's turn, success,
    failure, closing instruction, feedback. One-character markers, since a model this small need not learn English to
    tell a success from a failure.
    """

    alphabet: str
    markers: str
    hidden_size: int
    layers: int
    heads: int
    window: int

    @property
    def template(self) -> TemplateConfig:
        """The wording of its contexts; kept in the model's configuration, so that a checkpoint carries it."""
        pad, _, _, _, success, failure, closing, feedback = tuple(self.markers)
        return TemplateConfig(
            success=success + "{text}",
            failure=failure + "{text}",
            feedback=feedback + "{text}",
            turn="{problem}{blocks}" + closing,
            marker=pad,
        )

    def build(self, seed: int) -> tuple[Any, Any]:
        """(model, tokenizer), the weights a function of `seed` alone."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        tokenizer = self.tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=3 * self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=self.window,
            tie_word_embeddings=True,
            initializer_range=self.hidden_size**-0.5,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            mopd_context=self.template.model_dump(),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "embedded student"))
            return LlamaForCausalLM(config).eval(), tokenizer

    def tokenizer(self) -> Any:
        """One token a character, and the chat template of its markers."""
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        pad, begin, end, header = tuple(self.markers)[:4]
        vocabulary = {character: index for index, character in enumerate(self.markers + self.alphabet)}
        inner = Tokenizer(models.WordLevel(vocabulary, unk_token=None))
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        inner.decoder = decoders.Fuse()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=inner, pad_token=pad, bos_token=begin, eos_token=end, model_max_length=self.window
        )
        tokenizer.chat_template = (
            "{% for message in messages %}"
            f"{{{{ '{header}' if message['role'] == 'assistant' else '{begin}' }}}}{{{{ message['content'] }}}}"
            "{% endfor %}"
            f"{{% if add_generation_prompt %}}{header}{{% endif %}}"
        )
        return tokenizer


EMBEDDED: dict[str, EmbeddedStudent] = {
    "digits": EmbeddedStudent(string.digits, "_^$>+-?!", hidden_size=64, layers=4, heads=4, window=128),
    "letters": EmbeddedStudent(
        string.digits + string.ascii_letters + string.punctuation + " \n",
        "\u2400\u2402\u2403\u2404\u2713\u2717\u203d\u203c",
        hidden_size=96,
        layers=4,
        heads=6,
        window=512,
    ),
}
"""`builtin:digits` (18 tokens, 0.2 M parameters) and `builtin:letters` (printable ASCII, 0.4 M parameters)."""


def embedded_student(name: str) -> EmbeddedStudent:
    """The embedded student called `builtin:NAME`. Raises StudentError naming the nearest."""
    name = name.removeprefix(PREFIX)
    if name not in EMBEDDED:
        near = difflib.get_close_matches(name, EMBEDDED, n=1)
        raise StudentError(
            f"an embedded student is one of {', '.join(EMBEDDED)}",
            f"there is no builtin:{name}",
            f"did you mean {near[0] if near else 'digits'}?",
        )
    return EMBEDDED[name]
