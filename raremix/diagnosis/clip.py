"""CLIP (Radford et al. 2021) as the witness of phrases that no reader of attributes knows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from raremix.generator.tokens import token_ids
from raremix.runtime import weights
from raremix.runtime.device import device
from raremix.runtime.errors import UserError, no_memory

Array = NDArray[np.float64]
BATCH = 64


@dataclass(frozen=True)
class Clip:
    """A CLIP model with what it needs to see pictures and to read phrases."""

    model: CLIPModel
    processor: CLIPImageProcessor
    tokens: CLIPTokenizer

    @torch.no_grad()
    def likeness(self, pictures: NDArray[np.uint8], phrases: list[str]) -> Array:
        """Cosine similarities ``[n, phrases]`` in -1..1 of grey ``pictures [n, side, side]``."""
        words = _unit(self.model.get_text_features(token_ids(phrases, self.tokens).to(device())))
        found = []
        for start in range(0, len(pictures), BATCH):
            colours = np.repeat(pictures[start : start + BATCH, :, :, None], 3, axis=3)
            pixels = self.processor(list(colours), return_tensors="pt").pixel_values.to(device())
            found.append((_unit(self.model.get_image_features(pixels)) @ words.T).cpu().numpy())
        return np.concatenate(found).astype(np.float64)


def load(folder: Path) -> Clip:
    """The CLIP model in ``folder``, as Hugging Face's ``save_pretrained`` writes one.

    Raises:
        UserError: there is none, or its weights are not whole, some are missing, or they are no safetensors.
    """
    try:
        processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
        tokens = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        model, told = CLIPModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        weights.check_complete(told, "CLIP")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if no_memory(error):
            raise
        broken = weights.damaged(folder)
        reason = f"{broken} is not whole" if broken else str(error).partition("\n")[0]
        raise UserError(
            f"params.yaml, sensitivity.clip: {folder} holds no CLIP model with its tokenizer ({reason}); give the "
            "folder of one, or null"
        ) from None
    return Clip(model.to(device()).eval(), processor, tokens)


def _unit(features: torch.Tensor) -> torch.Tensor:
    pooled = getattr(features, "pooler_output", features).float()
    return pooled / pooled.norm(dim=-1, keepdim=True)
