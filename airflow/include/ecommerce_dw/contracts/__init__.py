"""Data contracts (Open Data Contract Standard v3): one YAML file per entity, and all that follows from it."""
