"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Bank = Annotated[
    str | None, typer.Option(help="Folder of a bank, or 'embedded'.  [default: embedded]")
]
Reward = Annotated[
    str | None,
    typer.Option(help="clipped, reciprocal_rank or package.module:name.  [default: clipped]"),
]
Algorithm = Annotated[str | None, typer.Option(help="ppo, a2c, sac, td3 or tqc.  [default: ppo]")]
K = Annotated[int | None, typer.Option(help="Recall@k.  [default: 10]")]
Horizon = Annotated[int | None, typer.Option(help="Steps per episode.  [default: 1]")]
Shortlist = Annotated[
    int | None, typer.Option(help="Candidates per query.  [default: up to 512 all, else 256]")
]
Faiss = Annotated[
    bool, typer.Option("--faiss", help="Find candidates by FAISS, for very large galleries.")
]
Model = Annotated[
    str | None,
    typer.Option(help="Captioning: a LLaVA, BLIP-2 or IDEFICS.  [default: embedded]"),
]
Prompt = Annotated[
    list[str] | None,
    typer.Option(help="Captioning: what is asked; repeatable.  [default: the model's own]"),
]
Grid = Annotated[
    int | None, typer.Option(help="Captioning: granularities to write for.  [default: 11]")
]
NEnvs = Annotated[
    int | None, typer.Option(help="Environments stepped together.  [default: the algorithm's]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
