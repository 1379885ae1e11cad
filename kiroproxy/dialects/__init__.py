"""What clients speak ⇄ conversation. Pure: no socket, file, clock or environment."""
