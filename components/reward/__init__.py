"""Reward: learns from comparisons which answer people prefer, as a scalar head and a LoRA adapter on the frozen base.

Reads:   comparisons, label_weights, prompts, golden, base_model, sft_adapter (start of the adapter)
Writes:  reward_adapter (adapter, head.safetensors, reward.json), judge_adapter (the same, learnt from other annotators:
         it watches over PPO, which never optimises it), shown_contributors (digests of the people whose labels trained it, of
         the others and of all, and which rows the tables of the first have)
Refuses: comparisons of unknown prompts, no comparison to train on, dialogues longer than the context, a NaN loss,
         a tokenizer with more tokens than the base model
Read in this order: config.py, step.py, votes.py, train.py, losses.py, quality.py, groups.py, people.py, parts.py,
         gaming.py, against.py, carryover.py
"""
