"""The `hardgrad` command: one file a command; `main` puts them together. Commands import what they need when they run."""
