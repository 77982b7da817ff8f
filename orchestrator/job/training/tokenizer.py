"""The tokenizer `bytes`: a token a byte, made without a network and saved as an ordinary Hugging Face tokenizer."""

from __future__ import annotations

import os
from typing import Any, Optional

from orchestrator.job.protocol.jobfile import ModelSource
from orchestrator.job.training.environment import ModelError, TrainingError

END = "<|endoftext|>"
END_ID = 256


def bytes_tokenizer() -> Any:
    """A byte-level tokenizer: id b is byte b (0-255), id 256 ends a document. `AutoTokenizer` loads what it saves."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: byte for byte, character in enumerate(_printable())}
    vocabulary[END] = END_ID
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def load_tokenizer(model: ModelSource, tokenizer: Optional[str]) -> Any:
    """The tokenizer of job.json's training section: `bytes`, a named one, or the model's own."""
    name = tokenizer or ("bytes" if model.config else model.path)
    if name == "bytes":
        return bytes_tokenizer()
    from transformers import AutoTokenizer

    revision = model.revision if name == model.path else None
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise unloadable("tokenizer", str(name), error) from error


def unloadable(what: str, name: str, error: Exception) -> TrainingError:
    """The error for what transformers could not load: one that lasts, or one of the network, which may pass."""
    message = f"{what}: {name} cannot be loaded: {error}"
    return ModelError(message) if os.path.isdir(name) or _is_refused(error) else TrainingError(message)


def _is_refused(error: Optional[BaseException]) -> bool:
    """Whether the hub has answered that there is no such thing, or not for this user."""
    from huggingface_hub import errors

    no_answer = isinstance(error, errors.LocalEntryNotFoundError)
    refusals = (errors.EntryNotFoundError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError)
    refused = isinstance(error, (*refusals, errors.HFValidationError)) and not no_answer
    return refused or (error is not None and _is_refused(error.__cause__))


def is_bytes(tokenizer: Any) -> bool:
    """Whether ids are the text's own UTF-8 bytes, which needs no tokenizing."""
    return len(tokenizer) == END_ID + 1 and tokenizer.eos_token == END


def _printable() -> list[str]:
    """GPT-2's character for each byte, which tokenizers' ByteLevel uses: itself if printable, else one from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    moved = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(moved)) for byte in range(256)]
