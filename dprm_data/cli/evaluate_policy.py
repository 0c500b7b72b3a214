"""The command that compares policies: `dprm eval policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dprm_data.cli.evaluate import eval_app, given_reading, reading_option
from dprm_data.cli.options import settings_command
from dprm_data.cli.shared import Json, Quiet, answer, note, output_option, say
from dprm_data.cli.train import needs_trainers, quiet_libraries
from dprm_data.core.errors import InputError


@eval_app.command("policy", cls=settings_command(reading_option, last=True))
def evaluate_policy(
    context: typer.Context,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            "-p",
            help="A causal language model: a folder or a name on the Hub, or name=folder. Repeat it to compare several, the base model first.",
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", help="A run folder, a file of prompts, or owner/name@revision:config on the Hub."),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            "-j",
            help="A reward model, or a run folder in which a panel annotated the responses. May be repeated.",
        ),
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold",
            "-g",
            help="A trusted judge that took no part in the training. Each --judge is then a proxy: plots both rewards for the best of n responses of the first policy, and along all policies.",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            "--checkpoints",
            help="The output folder of dprm train ppo: compares its base model and the policies that policy_every kept, in the order of steps.",
        ),
    ] = None,
    output: Annotated[Path, output_option("The folder for responses, tables and plots.")] = Path("policy-evaluation"),
    split: Annotated[
        str,
        typer.Option(
            "--split",
            help="Which prompts: test, validation, train or all. Prompts that the policies' or the judges' trainings held out count as held out.",
        ),
    ] = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use at most this many prompts.")] = None,
    responses: Annotated[int, typer.Option("--responses", min=1, help="Responses to each prompt.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0 is greedy.")] = 1.0,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0, max=1, help="Sample from the most likely tokens of this mass; 1: off.")
    ] = 1.0,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="The longest response, in tokens.")
    ] = 128,
    max_prompt_length: Annotated[
        int | None, typer.Option("--max-prompt-length", min=1, help="The longest prompt, in tokens.")
    ] = None,
    overlong: Annotated[
        Literal["error", "truncate", "drop"], typer.Option("--overlong", help="What to do with longer prompts.")
    ] = "error",
    reference: Annotated[
        str | None, typer.Option("--reference", help="The policy from which every policy's KL divergence is measured.")
    ] = None,
    tie: Annotated[
        float,
        typer.Option("--tie", min=0, max=1, help="Two rewards are a tie within this share of the range of rewards."),
    ] = 0.05,
    chat_template: Annotated[str | None, typer.Option("--chat-template", help="plain, or a Jinja file.")] = None,
    pad_token: Annotated[
        str | None, typer.Option("--pad-token", help="The token to pad with, for a tokenizer without one.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Responses per forward pass.")] = 16,
    seed: Annotated[int, typer.Option("--seed", help="The random seed of sampling.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Sample existing responses again.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare policies by judges' verdicts on their responses to the same held-out prompts.

    Responses stay in the folder and can be judged again: without --policy, the existing ones are judged. For a judge that took no part in the training,
    use responses.jsonl as a recipe's source, annotate it (dprm run), and pass the run folder as --judge.
    """
    named = _named(policy or [], checkpoints)
    if named and prompts is None:
        raise InputError(f"eval policy {'--checkpoints' if checkpoints else '--policy'} needs --prompts")
    needs_trainers()
    reading = given_reading(context)
    from dprm_trainers.evaluation.gold_judge import check_gold
    from dprm_trainers.evaluation.policy_responses import RESPONSES, read_responses

    if gold is not None:
        check_gold(gold, judge or [])
    if checkpoints and reference is None and temperature > 0 and top_p == 1:
        reference = next(iter(named.values()))

    if prompts is not None and named:
        quiet_libraries()
        from dprm_trainers.evaluation.policy_samples import SamplingSettings, sample_policies
        from dprm_trainers.ppo.prompt_sets import load_prompts
        from dprm_trainers.reward.holdout import by_policies, by_reward_models

        settings = SamplingSettings(
            responses, max_new_tokens, temperature, top_p, seed, max_prompt_length, overlong, chat_template, pad_token
        )
        models = [name for name in (*(judge or []), *([gold] if gold else [])) if not _is_run(name)]
        held_out = {*by_policies(named.values()), *by_reward_models(models)}
        found = sample_policies(
            named,
            load_prompts(prompts, split=split, limit=limit, held_out=tuple(held_out)),
            output,
            settings,
            reference=reference,
            batch_size=batch_size,
            overwrite=overwrite,
            say=note(quiet),
        )
    else:
        found = read_responses(output)
    _judge(found, judge or [], gold, output, reading, tie, batch_size, as_json)
    if not judge and not as_json:
        say(
            f"Responses: {output / RESPONSES}\nNext: annotate them (a recipe with source: {{path: {(output / RESPONSES).absolute()}}}), then\n"
            f"  dprm eval policy --output {output} --judge RUN_FOLDER"
        )


def _judge(
    found: Any,
    judges: list[str],
    gold: str | None,
    out: Path,
    reading: str,
    tie: float,
    batch_size: int,
    as_json: bool,
) -> None:
    from dprm_trainers.evaluation.comparison_tables import markdown, write_evaluation
    from dprm_trainers.evaluation.gold_tables import summary
    from dprm_trainers.evaluation.judges import judged_by
    from dprm_trainers.evaluation.policy_comparison import evaluate_policies
    from dprm_trainers.evaluation.policy_responses import policies_trained_for

    every = [*judges, *([gold] if gold else [])]
    if any(not _is_run(name) for name in every):
        quiet_libraries()
    verdicts = [judged_by(name, found, reading=reading, batch_size=batch_size) for name in every]
    trusted = verdicts.pop() if gold else None
    evaluation = evaluate_policies(found, verdicts, gold=trusted, tie=tie)
    for name in every:
        hacked = [who for who in policies_trained_for(name, out) if who in evaluation.style]
        if hacked:
            evaluation.notes.append(
                f"trained for the judge {name}, whose rewards are no evidence for them: {', '.join(hacked)}"
            )
    write_evaluation(evaluation, out)
    if as_json:
        answer({"folder": str(out)} | evaluation.as_dict(), None, True)
    elif gold:
        say(summary(evaluation, out))
    else:
        say(markdown(evaluation))


def _is_run(judge: str) -> bool:
    return (Path(judge) / "recipe.yaml").is_file()


def _named(policies: list[str], checkpoints: Path | None) -> dict[str, str]:
    """The policies by name. policies: name=folder, or a folder whose last part is its name. Those of checkpoints follow."""
    from dprm_trainers.core.references import check_model
    from dprm_trainers.evaluation.kept_policies import along

    named: list[tuple[str, str]] = []
    for text in policies:
        name, equals, policy = text.partition("=")
        if not equals or Path(text).exists():
            name, policy = Path(text).name, text
        if not name or not policy:
            raise InputError(f"--policy {text}: give a folder, or name=folder")
        check_model("--policy", policy)
        named.append((name, policy))
    if checkpoints:
        named += along(checkpoints, base=not policies).items()
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--policy: two policies are called {name}", hint="Name them: --policy NAME=FOLDER.")
    return dict(named)
