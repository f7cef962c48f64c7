"""Exact joins of texts by similarity.

The measure is the normalised Indel similarity (``rapidfuzz.fuzz.ratio`` on the raw text).
``join`` finds every pair of two lists of texts that scores at least a threshold, and ``first_similar`` decides for one
list which texts an order-keeping deduplication drops. Both are exact: bounds only rule out pairs that cannot reach the
threshold, and what is left is scored by ``rapidfuzz`` itself.
"""

from openthoughts.similarity.joins import Duplicates, Engine, Join, Matches, Rule, first_similar, join

__all__ = ["Duplicates", "Engine", "Join", "Matches", "Rule", "first_similar", "join"]
