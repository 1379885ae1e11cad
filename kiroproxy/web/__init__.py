"""Flask, thin: parse, call, answer."""
