"""BLIP-2 that chooses how much detail it looks at: bank, training, and generation with both.

On one graphics card with 16 GB, from COCO's pictures, captions and instances of 2017:

    pip install "dsa-env[encoders,agents]"
    python examples/blip_2.py --root /data/coco --out runs/blip-2

A second call finds what the first one made; ``--bank`` takes a bank that is there already.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from dsa_agents.run_folder import CONFIG, TrainConfig
from dsa_agents.train import train
from dsa_env.bank import FeatureBank
from dsa_env.build import BuildSettings, add_hallucination_detector, build_bank
from dsa_env.captioning.written import load_captioner
from dsa_env.datasets.registry import ReadOptions, read_dataset
from dsa_env.mllm import attach

MODEL = "Salesforce/blip2-opt-2.7b"
ENCODER, DETECTOR = "openai/clip-vit-large-patch14", "facebook/detr-resnet-50"
PROMPTS = ("a photo of", "What is in the picture?")


def open_bank(args: argparse.Namespace) -> FeatureBank:
    """The bank that judges captions: frozen features of pictures and texts, and COCO's objects."""
    folder: Path = args.bank or args.out / "bank"
    if not folder.exists():
        dataset = read_dataset("coco", args.root, ReadOptions(limit=args.limit))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        build_bank(dataset, folder, BuildSettings(ENCODER, DETECTOR, device=device))
    bank = FeatureBank.open(folder)
    if args.bank is None and not (folder / "hallucination").exists():
        add_hallucination_detector(bank)
    return bank


def main(arguments: Sequence[str] | None = None) -> None:
    """Build a bank, train a controller in DSA/Captioning-v0, attach it, generate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MODEL, help="hub name or folder of a BLIP-2")
    parser.add_argument("--root", type=Path, help="folder of COCO, to build a bank")
    parser.add_argument("--bank", type=Path, help="a bank that is there already")
    parser.add_argument("--limit", type=int, default=400, help="pictures a split")
    parser.add_argument("--timesteps", type=int, default=200_000)
    parser.add_argument("--show", type=int, default=4, help="test pictures to caption in the end")
    parser.add_argument("--out", type=Path, default=Path("runs/blip-2"))
    args = parser.parse_args(arguments)
    if args.bank is None and args.root is None:
        parser.error("give --root, the folder of COCO, or --bank")
    bank = open_bank(args)

    # The model writes a caption for every picture, prompt and g of a grid, once; PPO then learns
    # which g to use from what the model itself knows of the picture and the prompt.
    config = TrainConfig(
        bank=str(bank.path),
        direction="captioning",
        model=args.model,
        prompts=PROMPTS,
        timesteps=args.timesteps,
    )
    run = train(config, args.out / "run", resume=(args.out / "run" / CONFIG).exists())
    controller = run.controller(run.best_seed)

    # The same model: in half precision on a graphics card, else in float32 on the processor.
    captioner = load_captioner(args.model)
    model, processor = captioner.model, captioner.processor
    controller.to(model.device)
    for image in bank.split_images("test")[: args.show]:
        file = bank.image_path(int(image))
        assert file is not None
        picture = Image.open(file).convert("RGB")
        for prompt in PROMPTS:
            inputs = processor(images=picture, text=asked(prompt), return_tensors="pt")
            inputs = inputs.to(model.device, model.dtype)
            native = generate(model, processor, inputs)
            with attach(model, controller) as attached:
                chosen = generate(model, processor, inputs)
            assert attached.granularity is not None
            print(f"{file.name}: {prompt}")
            print(f"  native    {native}")
            print(f"  g = {float(attached.granularity[0]):.2f}  {chosen}")


def asked(prompt: str) -> str:
    """Questions in the form that BLIP-2 was evaluated with; what is no question is gone on with."""
    return f"Question: {prompt} Answer:" if prompt.endswith("?") else prompt


@torch.inference_mode()
def generate(model, processor, inputs) -> str:
    """What the model writes, greedily."""
    tokens = model.generate(**inputs, max_new_tokens=64, do_sample=False)
    if not model.config.is_encoder_decoder:  # OPT repeats the prompt, T5 does not
        tokens = tokens[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()


if __name__ == "__main__":
    main()
