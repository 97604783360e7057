"""What MLflow still has to get: kept on this disk (folder), sent in a thread (flusher), written once (replay)."""
