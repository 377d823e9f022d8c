"""One file per `ns-train` name."""
