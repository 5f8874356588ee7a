"""What runs on the host: importers, compiler, program container, driver."""
