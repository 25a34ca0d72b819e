"""How help texts show examples."""

from __future__ import annotations


def examples(*pairs: tuple[str, str]) -> str:
    """An epilog of (what it does, the command): a comment line, then the command, for each."""
    blocks = [f"[dim]# {purpose}[/dim]\n[cyan]{command}[/cyan]" for purpose, command in pairs]
    return "\n".join(["[bold]Examples[/bold]", *blocks])
