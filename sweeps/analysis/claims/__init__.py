"""The paper's claims, decided by rules that were written down first: docs/claims.md."""
