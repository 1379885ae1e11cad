"""Who we are to Kiro: credentials, how they are kept, chosen and renewed."""
