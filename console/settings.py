"""`twintide config check | show`: is a configuration right, and what does it say?"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from console.options import DEFAULT_CONFIG, AsJson, ConfigFile, deployment_of
from console.output import say

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True)
app.add_typer(
    config_app,
    name="config",
    rich_help_panel="Operation",
    help="Check or show a configuration file.",
    epilog="Example: twintide config check -c twintide.yaml",
)

_HEAD = "# A Twintide deployment, every key. Check a copy of it:  twintide config check -c FILE\n\n"


@config_app.command(epilog="Example: twintide config check -c twintide.yaml")
def check(*, config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Whether a configuration is right; each wrong key is named."""
    deployment = deployment_of(config)
    say(
        {"config": config, "ok": True, "data_dir": deployment.data_dir},
        f"{config} is right; its artifacts lie in {deployment.data_dir}",
        as_json=as_json,
    )


@config_app.command(epilog="Example: twintide config show > twintide.yaml")
def show(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Default: the quickstart, to start from."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print every key with its value: of a file, or of the quickstart to start from."""
    values = deployment_of(config).model_dump(mode="json") if config else quickstart()
    say(values, _HEAD + as_yaml(values).rstrip("\n"), as_json=as_json)


def quickstart() -> dict[str, Any]:
    """Every key of the quickstart, defaults filled in."""
    from twintide import yaml12
    from twintide.config import parse

    text = shipped("quickstart")
    return parse(yaml12.parse(text, name="quickstart"), name="quickstart").model_dump(mode="json")


def shipped(name: str) -> str:
    """The text of a configuration file that comes with Twintide."""
    return (resources.files("configs") / f"{name}.yaml").read_text(encoding="utf-8")


def as_yaml(values: dict[str, Any]) -> str:
    """YAML that `twintide.yaml12` reads back as it was."""
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
