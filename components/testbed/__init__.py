"""The testbed: a small world in plain English in which the truth about every answer is known.

Reads:   a seed and a size
Writes:  a data folder: corpus, demonstrations, comparisons, golden pairs, prompts, annotators, rating guidelines
Refuses: to overwrite a folder that it did not write
Read in this order: world.py, questions.py, answers.py, gold.py, annotators.py, labels.py, tables.py, folder.py

It is not a step. `python -m components.testbed --out data --seed 0` writes the folder; same seed, same bytes, on any
machine. Everything in it is simulated: no person wrote an answer or gave a label.
"""
