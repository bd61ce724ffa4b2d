"""Fine-tuned models on disk: a whole pipeline, or a LoRA beside its base; either opens in diffusers."""

import hashlib
from collections import Counter
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from raremix.generator.base import REMEDY, load, whole
from raremix.generator.tokens import embedding_of, reserve, start_from
from raremix.runtime import weights
from raremix.runtime.errors import UserError
from raremix.runtime.files import full_disk, sha256
from raremix.runtime.seeds import seed_for

LORA, EMBEDDING = "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"  # diffusers' own names
LORA_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]


def prepare(
    pipeline: StableDiffusionPipeline, token: str, initializer: str | None, lora_rank: int | None
) -> StableDiffusionPipeline:
    """The base ``pipeline`` itself, with ``token`` reserved, and gradients asked for in what is trained of its UNet.

    The token starts from the embedding of ``initializer``, if there is one (Gal et al. 2022, textual inversion).
    """
    reserve(token, pipeline.tokenizer, pipeline.text_encoder)
    if initializer is not None:
        start_from(initializer, token, pipeline.tokenizer, pipeline.text_encoder)
    for model in (pipeline.vae, pipeline.text_encoder):
        model.requires_grad_(False)
    pipeline.unet.requires_grad_(lora_rank is None)
    if lora_rank is not None:
        options = {"r": lora_rank, "lora_alpha": lora_rank, "target_modules": LORA_LAYERS}
        torch.manual_seed(seed_for("lora", token))  # peft draws from the global stream
        pipeline.unet.add_adapter(LoraConfig(init_lora_weights="gaussian", **options))
    return pipeline


def save(pipeline: StableDiffusionPipeline, out: Path, token: str, lora_rank: int | None) -> None:
    """Write the fine-tuned ``pipeline``, or its LoRA and the embedding of ``token`` alone, to the directory ``out``."""
    with full_disk(out):
        if lora_rank is None:
            pipeline.save_pretrained(out)
            return
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
        StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=layers)
        embedding = embedding_of(token, pipeline.tokenizer, pipeline.text_encoder)
        weights.write(out / EMBEDDING, {token: embedding.clone()})


def load_tuned(base: Path, tuned: Path, token: str) -> StableDiffusionPipeline:
    """The pipeline that ``save`` wrote to ``tuned``; a LoRA is laid over ``base``.

    Raises:
        UserError: there is neither, or a file of it is not whole.
    """
    if (tuned / "model_index.json").is_file():
        return load(tuned)
    if not ((tuned / LORA).is_file() and (tuned / EMBEDDING).is_file()):
        raise UserError(f"{tuned}: neither a pipeline nor a LoRA; run `dvc repro dreambooth` to make it")
    pipeline = load(base)
    reserve(token, pipeline.tokenizer, pipeline.text_encoder)
    held = weights.read(tuned / EMBEDDING, REMEDY)
    if token not in held:
        raise UserError(f"{tuned / EMBEDDING}: no embedding of {token}; {REMEDY}")
    embedding_of(token, pipeline.tokenizer, pipeline.text_encoder).copy_(held[token])
    _check_layers(pipeline, tuned / LORA)
    with whole(tuned):
        pipeline.load_lora_weights(tuned, weight_name=LORA, use_safetensors=True)
    return pipeline


def _check_layers(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Refuse a LoRA in ``file`` without the two matrices of each layer: diffusers lays over what there is.

    Raises:
        UserError: it is not whole, or lacks one or has others.
    """
    layers = [name for name, _ in pipeline.unet.named_modules() if name.endswith(tuple(LORA_LAYERS))]
    held = Counter(name.removeprefix("unet.").partition(".lora")[0] for name in weights.read(file, REMEDY))
    wrong = sorted(layer for layer in {*layers, *held} if held[layer] != 2 or layer not in layers)
    if wrong:
        raise UserError(f"{file}: not the two matrices of each layer, first of {wrong[0]}; {REMEDY}")


def fingerprint(tuned: Path) -> str:
    """The SHA-256 over the names within ``tuned`` and the bytes of all its weight files."""
    digest = hashlib.sha256()
    for name in sorted(file.relative_to(tuned).as_posix() for file in tuned.rglob("*.safetensors")):
        digest.update(f"{name}\x1f{sha256(tuned / name)}\x1f".encode())
    return digest.hexdigest()
