"""Stands in for torchaudio, which LLaMA-Factory imports and uses for audio alone: there is no CPU build of it on PyPI."""
