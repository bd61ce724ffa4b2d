"""A CLIP tokenizer in which every word of a caption is one token."""

from collections.abc import Sequence
from functools import cache

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextModel, CLIPTokenizer

from raremix.runtime.device import seeded
from raremix.runtime.errors import UserError


def tokenizer(words: Sequence[str], length: int) -> CLIPTokenizer:
    """CLIP's tokenizer over bytes, with ``words`` as whole tokens; prompts are padded to ``length`` tokens.

    Any other text falls apart into bytes, so that no token is ever unknown.
    """
    symbols = sorted(ByteLevel.alphabet())
    entries = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    made = CLIPTokenizer({entry: index for index, entry in enumerate(entries)}, [], model_max_length=length)
    made.add_tokens(list(words))
    return made


def reserve(token: str, tokens: CLIPTokenizer, encoder: CLIPTextModel) -> None:
    """Give ``token`` an entry and an embedding of its own where it has none (Stable Diffusion's tokenizer).

    The new embedding is drawn with the spread of the existing ones and depends on the token alone.
    """
    if tokens.add_tokens([token]) == 0:
        return
    table = encoder.get_input_embeddings().weight.detach()
    drawn = torch.randn(table.shape[1], generator=seeded("token", token))
    encoder.resize_token_embeddings(len(tokens), mean_resizing=False)
    encoder.get_input_embeddings().weight.data[-1] = table.mean(0) + table.std(0) * drawn


def start_from(initializer: str, token: str, tokens: CLIPTokenizer, encoder: CLIPTextModel) -> None:
    """Give ``token`` the embedding of ``initializer``.

    Raises:
        UserError: the tokenizer has no such word as one token.
    """
    if initializer not in tokens.get_vocab():
        raise UserError(f"params.yaml, dreambooth.initializers: '{initializer}' is no token of the base model")
    embedding_of(token, tokens, encoder).copy_(embedding_of(initializer, tokens, encoder))


def embedding_of(token: str, tokens: CLIPTokenizer, encoder: CLIPTextModel) -> torch.Tensor:
    """The row ``[width]`` of the embedding table that belongs to ``token``; writing to it changes the table."""
    return encoder.get_input_embeddings().weight.data[tokens.convert_tokens_to_ids(token)]


def encode(prompts: Sequence[str], tokens: CLIPTokenizer, encoder: CLIPTextModel) -> torch.Tensor:
    """Text embeddings ``[n, length, width]`` of ``prompts``, each distinct prompt encoded once."""
    distinct = list(dict.fromkeys(prompts))
    ids = token_ids(distinct, tokens).to(encoder.device)
    embedded = encoder(ids)[0]
    return embedded[[distinct.index(prompt) for prompt in prompts]]


def token_ids(prompts: Sequence[str], tokens: CLIPTokenizer) -> torch.Tensor:
    """Token ids ``[n, length]``, padded and cut as StableDiffusionPipeline does it; what is cut is told."""
    length = tokens.model_max_length
    options = {"padding": "max_length", "truncation": True, "max_length": length}
    found = tokens(list(prompts), return_tensors="pt", **options)
    for prompt, full in zip(prompts, found.attention_mask.all(1), strict=True):
        if full and (needed := len(tokens(prompt, verbose=False).input_ids)) > length:
            _tell_cut(prompt, needed, length)
    return found.input_ids


@cache
def _tell_cut(prompt: str, needed: int, length: int) -> None:
    """Once a process for each prompt."""
    print(f"a prompt of {needed} tokens is cut after {length}, what it ends with is not seen: {prompt}")
