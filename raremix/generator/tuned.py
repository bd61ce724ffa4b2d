"""Fine-tuned models on disk: a whole pipeline, or a LoRA beside its base; either opens in diffusers."""

from pathlib import Path

from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from raremix.generator.base import load
from raremix.generator.tokens import reserve
from raremix.runtime.files import sha256

LORA_LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]


def prepare(base: Path, token: str, lora_rank: int | None) -> StableDiffusionPipeline:
    """The base pipeline with ``token`` reserved, and with what is to be trained of its UNet requiring gradients."""
    pipeline = load(base)
    reserve(token, pipeline.tokenizer, pipeline.text_encoder)
    for model in (pipeline.vae, pipeline.text_encoder):
        model.requires_grad_(False)
    pipeline.unet.requires_grad_(lora_rank is None)
    if lora_rank is not None:
        pipeline.unet.add_adapter(LoraConfig(lora_rank, LORA_LAYERS, lora_alpha=lora_rank, init_lora_weights="gaussian"))
    return pipeline


def save(pipeline: StableDiffusionPipeline, out: Path, lora_rank: int | None) -> None:
    """Write the fine-tuned ``pipeline``, or its LoRA alone, to the directory ``out``."""
    if lora_rank is None:
        pipeline.save_pretrained(out)
        return
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipeline.unet))
    StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=layers)


def load_tuned(base: Path, tuned: Path, token: str) -> StableDiffusionPipeline:
    """The pipeline that ``save`` wrote to ``tuned``; a LoRA is laid over ``base``."""
    if (tuned / "model_index.json").is_file():
        return load(tuned)
    pipeline = load(base)
    reserve(token, pipeline.tokenizer, pipeline.text_encoder)
    pipeline.load_lora_weights(tuned)
    return pipeline


def fingerprint(tuned: Path) -> str:
    """The SHA-256 of the file that holds the fine-tuned weights."""
    (weights,) = [*tuned.glob("unet/*.safetensors"), *tuned.glob("*.safetensors")]
    return sha256(weights)
