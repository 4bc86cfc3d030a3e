"""Public preference formats into our records: `python -m components.importers FORMAT FILE... --out FOLDER`.

One file per format: hh_rlhf.py. An importer turns every row into records or quarantines it with file, line and reason; the
counts balance. The folder it writes has the same tables as the testbed's, so the same pipeline runs on it; import.json there
says from which files, by digest.
Read in this order: __main__.py, hh_rlhf.py
"""
