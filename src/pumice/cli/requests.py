"""How a server is asked: one declaration for every verb that asks one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pumice.endpoint.client import Endpoint


def concurrency(panel: str | None = None) -> Any:
    """How many requests are on their way at once."""
    return typer.Option(min=1, help="Requests in flight.", show_default="8", rich_help_panel=panel)


def timeout(panel: str | None = None) -> Any:
    """How long one reply is waited for."""
    return typer.Option(
        metavar="SECONDS", min=0.001, help="The longest wait for one reply.",
        show_default="180", rich_help_panel=panel,
    )  # fmt: skip


def retries(panel: str | None = None) -> Any:
    """How often what passes is tried again."""
    return typer.Option(
        min=0, help="How often a request is sent again that met a busy server or no reply.",
        show_default="6", rich_help_panel=panel,
    )  # fmt: skip


def key_variable(
    of: str = "the server",
    default: str = "OPENAI_API_KEY",
    option: str = "--key-variable",
    panel: str | None = None,
) -> Any:
    """Where the key of a server is."""
    return typer.Option(
        option, metavar="VARIABLE", help=f"The environment variable with the key of {of}.",
        show_default=default, rich_help_panel=panel,
    )  # fmt: skip


OF_THE_FIRST = "the first one's on the same host and port, else no key"
Concurrency = Annotated[int | None, concurrency()]
Timeout = Annotated[float | None, timeout()]
Retries = Annotated[int | None, retries()]
KeyVariable = Annotated[str | None, key_variable()]
SecondKeyVariable = Annotated[
    str | None, key_variable("the second model's server", OF_THE_FIRST, "--second-key-variable")
]


@dataclass(frozen=True)
class Requests:
    """What was said of how a server is asked; None leaves it as ``Endpoint`` has it."""

    concurrency: int | None = None
    timeout: float | None = None
    retries: int | None = None
    key_variable: str | None = None

    @property
    def options(self) -> dict[str, object]:
        """By the names of options, given or not."""
        return {
            "--concurrency": self.concurrency,
            "--timeout": self.timeout,
            "--retries": self.retries,
            "--key-variable": self.key_variable,
        }

    def endpoint(self, url: str, model: str, **more: Any) -> Endpoint:
        """A server's model, asked so."""
        from pumice.endpoint.client import Endpoint

        said = {name: value for name, value in vars(self).items() if value is not None}
        return Endpoint(url, model, **said, **more)
