"""The pictures and tables of README and docs that kept results give."""
