"""Words to calls: one module a command, and what commands share. The only place that prints and that knows Typer."""
