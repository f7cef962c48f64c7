"""Stands in for torchaudio, which LLaMA-Factory imports and uses for audio alone."""
