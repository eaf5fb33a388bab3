"""From a trial to numbers: one loop, pre-training, fine-tuning, closed-form heads, baselines."""
