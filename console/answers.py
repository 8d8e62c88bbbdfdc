"""`twintide recommend | serve`: answers from the live version, once or over HTTP."""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

import json
from typing import Annotated, Any

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, daemon_of, deployment_of
from twintide.clock import SystemClock
from twintide.output import say, table

app = typer.Typer()
_PANEL = "Answers"


def parse_object(text: str) -> dict[str, Any]:
    """Columns of the event, or weights of objectives, as a JSON object."""
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"{text!r} is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise typer.BadParameter(f'{text!r} is no JSON object, such as {{"region": 3}}')
    return given


@app.command(
    rich_help_panel=_PANEL, epilog="Example: twintide recommend -c twintide.yaml --user-id 42 -k 10"
)
def recommend(
    *,
    user_id: Annotated[
        str, typer.Option("--user-id", "--user", metavar="ID", help="The user to recommend to.")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", min=1, help="How many items. Default: 100, or serving.max_k where that is less."
        ),
    ] = None,
    recent: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM", help="Clicked last, the newest one last; repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="Leave it out; repeatable.")
    ] = None,
    features: Annotated[
        Any,
        typer.Option(
            parser=parse_object, metavar="JSON", help="Columns of the event: '{\"region\": 3}'."
        ),
    ] = "{}",
    objectives: Annotated[
        Any,
        typer.Option(
            parser=parse_object,
            metavar="JSON",
            help='What each objective counts: \'{"click": 1, "like": 3}\'.',
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One answer from the live version."""
    deployment = deployment_of(config)
    from serving.server import recommend as run

    found = run(
        deployment,
        user_id=user_id,
        k=k,
        clock=SystemClock(),
        recent=recent or None,
        exclude=exclude or (),
        features=features,
        objectives=objectives,
    )
    rows = [
        (place, item, f"{score:.4f}")
        for place, (item, score) in enumerate(
            zip(found.item_ids, found.scores, strict=True), start=1
        )
    ]
    stranger = "" if found.known_user else " (unknown to it: answered as an anonymous one)"
    title = f"for user {user_id}, from version {found.version}{stranger}"
    say(found.to_dict(), table(title, ("#", "item", "#score"), rows), as_json=as_json)


@app.command(rich_help_panel=_PANEL, epilog="Example: twintide serve -c twintide.yaml")
def serve(*, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Answer over HTTP: POST /v1/recommend, GET /v1/version /livez /readyz /metrics.

    Follows promotions and rollbacks without a gap. SIGTERM ends it after the requests at work.
    """
    deployment = daemon_of(config)
    from serving.server import serve as run

    run(deployment, config, clock=SystemClock())
