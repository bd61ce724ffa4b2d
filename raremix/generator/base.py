"""The base model: a StableDiffusionPipeline, small and trained here, or Stable Diffusion v1.4 as it is published."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import transformers
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.configuration_utils import FrozenDict
from httpx2 import HTTPError
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer

from raremix.generator.denoiser import noise_schedule
from raremix.runtime import weights
from raremix.runtime.errors import UserError, no_memory, one_line

REMEDY = "run `dvc repro` to make it again"
NETWORKS = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
WITHOUT_CHECKER = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

# Their bars for loading, saving and every few sampling steps bury ours.
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
# They warn in many lines of a hub that can't be reached and of weights that don't fit; one line of ours says it.
diffusers.utils.logging.set_verbosity_error()
transformers.utils.logging.set_verbosity_error()


def assemble(
    autoencoder: AutoencoderKL, unet: UNet2DConditionModel, encoder: CLIPTextModel, tokens: CLIPTokenizer
) -> StableDiffusionPipeline:
    """A pipeline of the small models, sampled with DPM-Solver++ (Lu et al. 2022)."""
    return StableDiffusionPipeline(
        vae=autoencoder,
        unet=unet,
        text_encoder=encoder,
        tokenizer=tokens,
        scheduler=_sampler(noise_schedule().config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def published(source: str, revision: str | None) -> StableDiffusionPipeline:
    """The published pipeline in the local folder or hub repository ``source``, without its safety checker.

    Raises:
        UserError: the folder holds no pipeline, a file of it is not whole or lacks weights, or the hub can't be
            reached.
    """
    local = Path(source).is_dir()
    if not local and revision is None:
        raise UserError(f"params.yaml, base.revision: pin the revision of '{source}', or give a local folder")
    folder = Path(source) if local else None
    try:
        if folder is None:
            options = {"revision": revision, "use_safetensors": True}
            folder = Path(StableDiffusionPipeline.download(source, **options, **WITHOUT_CHECKER))
        pipeline = _opened(folder)
    except (OSError, ValueError, RuntimeError, HTTPError, SafetensorError) as error:
        if no_memory(error):
            raise
        broken = weights.damaged(folder) if folder else None
        reason = f"{broken} is not whole" if broken else one_line(error.__cause__ or error)
        raise UserError(
            f"params.yaml, base.pretrained: no pipeline at '{source}' ({reason}); download it first"
        ) from None
    pipeline.scheduler = _sampler(pipeline.scheduler.config)
    return pipeline


def _sampler(schedule: FrozenDict) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ over the noise levels of ``schedule``.

    It ends at the lowest of them, as Stable Diffusion's own PNDM does. Without any noise left, images lack the grain of
    radiographs: their KID is then above PNDM's even in as many steps (docs/benchmarks.md).
    """
    return DPMSolverMultistepScheduler.from_config(
        schedule, algorithm_type="dpmsolver++", final_sigmas_type="sigma_min"
    )


def load(directory: Path) -> StableDiffusionPipeline:
    """The pipeline that ``base`` or ``dreambooth`` saved in ``directory``.

    Raises:
        UserError: it holds none, or a file of it is not whole or lacks weights.
    """
    if not (directory / "model_index.json").is_file():
        raise UserError(f"{directory}: no model_index.json, so no pipeline; run `dvc repro base` to make it")
    with whole(directory):
        return _opened(directory)


def _opened(folder: Path) -> StableDiffusionPipeline:
    """The pipeline in ``folder``, its networks with all their weights: what a file lacks, diffusers draws at random.

    Raises:
        ValueError: a network lacks some; or what diffusers and transformers raise over a file that is none of theirs.
    """
    networks = {}
    for part, network in NETWORKS.items():
        networks[part], told = network.from_pretrained(
            folder, subfolder=part, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        weights.check_complete(told, part)
    return StableDiffusionPipeline.from_pretrained(
        folder, **networks, **WITHOUT_CHECKER, local_files_only=True, use_safetensors=True
    )


@contextmanager
def whole(directory: Path) -> Iterator[None]:
    """Make what diffusers and transformers raise over a broken file of ``directory`` one line that names it."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if no_memory(error):
            raise
        place = weights.damaged(directory) or directory
        raise UserError(f"{place}: can't be loaded ({one_line(error)}); {REMEDY}") from None
