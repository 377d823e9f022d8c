"""One file per dataset layout. Nothing here imports a datamanager, pipeline, trainer or model."""
