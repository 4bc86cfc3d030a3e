"""Start: opens the pipeline run and says what it will be made from.

Reads:   nothing of the pipeline; the trigger, the config, the data folder with its DVC pin, the base model's source
Writes:  data_version (which files, with digests), base_version (which base model, with digest or revision)
Refuses: a config with any problem; a data folder that is missing or is not what its pin says; a base-model folder that is
         missing
Read in this order: config.py, step.py
The entrypoint has logged the whole config before this step's work begins; later steps use exactly what was logged.
"""
