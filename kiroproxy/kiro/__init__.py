"""What Kiro speaks ⇄ conversation. Pure: no socket, file, clock or environment."""
