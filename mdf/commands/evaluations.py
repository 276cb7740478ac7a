"""`mdf evaluations`: what came of comparing restoration networks."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import typer

from mdf.client import Candidate, Evaluation, Yardstick
from mdf.commands.connection import ApiKey, AsJson, Limit, Url, connect
from mdf.commands.terminal import (
    age,
    describe_loss,
    describe_network,
    describe_task,
    moment,
    note,
    out,
    print_fields,
    print_json,
    print_table,
)

app = typer.Typer(help="Look at comparisons of restoration networks.", no_args_is_help=True)

_ID_WIDTH = len("eval_") + 32


@app.command("ls")
def list_evaluations(
    limit: Limit = 20, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List evaluations, newest first."""
    with connect(url, api_key) as client:
        evaluations = list(islice(client.evaluations.iterate(), limit))
    if as_json:
        print_json(evaluations)
        return
    print_table(
        ("EVALUATION", "TASK", "MODELS", "DATA SET", "IMAGES", "NAME", "AGE"),
        [
            (
                each.id,
                describe_task(each.task),
                str(len(each.model_ids)),
                each.dataset.name,
                str(each.dataset.images),
                each.name,
                age(each.created),
            )
            for each in evaluations
        ],
        first_column=_ID_WIDTH,
    )


@app.command()
def show(
    evaluation_id: Annotated[str, typer.Argument(metavar="EVALUATION", help="An evaluation's id.")],
    *,
    values: Annotated[
        bool, typer.Option("--values", help="With --json: every image's values, one a line.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show what came of one: means with 95 % intervals, worst images, which is better."""
    if values and not as_json:
        raise typer.BadParameter("--values needs --json")
    with connect(url, api_key) as client:
        if values:
            for image in client.evaluations.values(evaluation_id):
                print_json(image, indent=None)
            return
        print_evaluation(client.evaluations.get(evaluation_id), as_json=as_json)


def print_evaluation(evaluation: Evaluation, *, as_json: bool) -> None:
    """All of it as JSON, or a table for each metric."""
    if as_json:
        print_json(evaluation)
        return
    dataset = evaluation.dataset
    print_fields(
        {
            "evaluation": evaluation.id,
            "name": evaluation.name or None,
            "task": describe_task(evaluation.task),
            "data set": f"{dataset.name} ({dataset.id})",
            "images": f"{dataset.images}{', held out of training' if dataset.held_out else ''}",
            "job": evaluation.job_id,
            "created": moment(evaluation.created),
        }
    )
    for metric in evaluation.metrics:
        unit = f", {metric.unit}" if metric.unit else ""
        better = "higher" if metric.higher_is_better else "lower"
        out.print(f"\n{metric.label}{unit}: {better} is better", markup=False)
        print_table(
            ("CANDIDATE", "MEAN", "95 % INTERVAL", "5 % ARE WORSE THAN", "BETTER THAN", "NAME"),
            list(_rows(evaluation, metric)),
            first_column=_ID_WIDTH,
        )
    for candidate in evaluation.candidates:
        if candidate.trained_on_these:
            note(f"{candidate.id} was trained on these images: its figures flatter it")


def _rows(evaluation: Evaluation, metric: Yardstick) -> Iterator[tuple[str, ...]]:
    """The candidates, best first."""
    numbers = {each.id: number for number, each in enumerate(_ranked(evaluation, metric), start=1)}
    for candidate in _ranked(evaluation, metric):
        scores = candidate.results[metric.name]
        beaten = [
            numbers[test.second if test.better == test.first else test.first]
            for test in evaluation.comparisons
            if test.metric == metric.name and test.better == candidate.id
        ]
        low_high = scores.mean_interval
        yield (
            candidate.id,
            f"{scores.mean:.4g}",
            "" if low_high is None else f"{low_high[0]:.4g} – {low_high[1]:.4g}",
            f"{scores.worst:.4g}",
            ", ".join(f"no. {number}" for number in sorted(beaten)),
            f"{numbers[candidate.id]}. {_name(candidate)}",
        )


def _ranked(evaluation: Evaluation, metric: Yardstick) -> list[Candidate]:
    return sorted(
        evaluation.candidates,
        key=lambda each: each.results[metric.name].mean,
        reverse=metric.higher_is_better,
    )


def _name(candidate: Candidate) -> str:
    if candidate.network is None:
        return candidate.name
    trained = f", {describe_loss(candidate.loss)}" if candidate.loss else ""
    return f"{candidate.name} ({describe_network(candidate.network)}{trained})"
