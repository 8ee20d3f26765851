"""Token programs: texts of a language model as a sequence with weights."""
