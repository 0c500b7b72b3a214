"""Policies compared: what they say to the same prompts, and what judges say of that (`dprm evaluate-policy`).

samples      responses of a policy to prompts
responses    those of all policies, kept in a folder
judges       reward models, and runs whose panel took no part
evaluation   the comparison, with intervals
tables       as Markdown and as a picture
"""
