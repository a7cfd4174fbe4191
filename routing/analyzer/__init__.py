"""Stage 1: Task → TaskAnalysis.

reading.py     a prompt taken apart: what is asked, and what is pasted
lexicon.py     words and what they say, in eleven languages: a table
wording.py     finding the lexicon's words in a text
signals.py     shapes and what they say: code, formulas, tables, length
effort.py      complexity, and the length of the answer
language.py, sensitive.py
rules.py       the evidence added up
"""

from routing.analyzer.rules import Classification, RulesAnalyzer, analysis_of, classify

__all__ = ["Classification", "RulesAnalyzer", "analysis_of", "classify"]
