"""What outcomes teach: how well a model will answer a prompt, and what that is worth.

    outcomes.py    files or ledger rows → outcomes
    features.py    a prompt → numbers
    ridge.py       the one learner: numbers → a number
    abilities.py   how able each model is, how hard each prompt: one scale
    recogniser.py  which of the known kinds of work a prompt looks like
    stand_ins.py   what teaches a pair about open prompts
    train.py       outcomes → the quality model; scores for a file of prompts
    quality.py     the quality model: score and probability of a prompt, weights in and out
    policy.py      predictions → a choice: the best value within an allowance that means something; the guard
    calibration.py how large the allowance may be: what choosing by predictions lost on prompts that they did not see
    evaluation.py  RouteLLM's measure, frontiers of cost and quality, bootstrap intervals

Outside a training run only `quality` and `policy` are imported, and numpy with the first prediction.
"""
