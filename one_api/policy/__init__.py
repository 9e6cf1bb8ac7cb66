"""May this caller do this now? Decisions only: nothing here knows HTTP or a provider."""
