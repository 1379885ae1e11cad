"""The talk with Kiro."""
