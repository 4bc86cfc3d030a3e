"""PPO: moves the SFT policy towards the reward model, on a KL leash; or DPO in its place, as alignment.method says.

Reads:   prompts (split train), base_model, sft_adapter (start and KL reference), reward_adapter,
         judge_adapter (watches, and chooses the policy that is published);
         comparisons, golden, label_weights (DPO alone uses them)
Writes:  policy_adapter
Refuses: a reward model that is stale, revoked, or of another base model or tokenizer, no prompts,
         prompts that leave no room for an answer, scores that are not finite, a tokenizer without an end-of-sequence token
         or with tokens that the base lacks, passes that don't fit into memory
Read in this order: config.py, step.py, actors.py, rollout.py, passes.py, rewards.py, advantages.py, losses.py,
                    update.py, monitor.py, watch.py; dpo.py
Why each choice: docs/ppo.md
"""
