"""`ns-talking`: one program with subcommands."""
