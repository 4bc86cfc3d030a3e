"""SFT: teaches the base model to answer like the demonstrations.

Reads:   demonstrations, base_model
Writes:  sft_adapter (LoRA on the frozen base)
Refuses: no demonstration of the split `train` that fits into the context
Read in this order: config.py, step.py

Training is TRL's SFTTrainer; the loss counts the assistant's tokens only.
"""
