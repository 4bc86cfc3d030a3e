"""Preference data of others into our records: `python -m components.importers FORMAT FILE... --out FOLDER`.

hh_rlhf.py has dialogues whose labels name nobody. label_studio.py, argilla.py and table.py read exports that say who labelled;
mapping.py says which column is what, identities.py puts pseudonyms in the place of identities, votes.py makes the records. An
importer turns every row into records or quarantines it with file, line and reason; the counts balance. The folder it
writes has the same tables as the testbed's, so the same pipeline runs on it; its import.json names the files, by digest.
Read in this order: __main__.py, rows.py, hh_rlhf.py, mapping.py, table.py, label_studio.py, argilla.py, identities.py, votes.py
Why and how to use it: docs/importing.md
"""
