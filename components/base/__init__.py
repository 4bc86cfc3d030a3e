"""Base: the model that everything else starts from.

Reads:   base_version (which source), corpus (to train from scratch on)
Writes:  base_model (Hugging Face layout: config, safetensors, tokenizer with chat template)
Refuses: weights that are not safetensors, models that bring code, a hub revision that is not a full commit, a folder that
         changed since the run started, a tokenizer without end-of-sequence token or chat template
Read in this order: config.py, step.py, sources.py, tokenizer.py, pretrain.py
"""
