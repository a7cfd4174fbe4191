"""The router: a task in, an answer and its bill out.

    Task
     │  analyzer/     1  what kind of task is it, and how hard?          → TaskAnalysis
     │  selector/     2  which model is the cheapest good enough?        → ModelSelection
     │  assembler.py  3  system prompt, history, tools, fitted           → ModelRequest
     │  dispatch/     4  send it; where a model fails, try the next      → ModelResponse
     │  recorder.py   5  book every call and decision                    → RouteRecord
     ▼
    RouteRecord

Reading order: `types`, `errors`, `router` (the five lines), then the stages as numbered. `registry` and `settings` say what
there is, `catalog` what of it can be called now, `pricing` and `tokens` count, `state/` keeps, `embedded/` is the model that
needs no key. Round the stages: `profiles/` says which agent a message is for, `context/` reads in parts what is too long,
`answers` gives answers again, `patterns/` answers in several steps. Beside them: `forecasts`, `learning/` and `guard` say what
is expected of each model, `escalation`, `inspection` and `verification/` check answers and have them mended, `budgets` limits,
`jobs` and `batches` outlive a call, `shadow`, `replay` and `report` look back.
"""
